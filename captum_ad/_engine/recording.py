"""Records a masked forward as a graph of torch operators that is valid for every mask.

The interpreter runs once on real tensors. Operators on values from the inputs, the masks or the model's parameters and
buffers are recorded. Operators on values from shapes alone (position functions, padding) are run now, and their results
become constants of the graph. An operation that reads a recorded value in Python cannot be recorded.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.weak import WeakIdKeyDictionary

from captum_ad._common.errors import UnsupportedOperationError
from captum_ad._engine.static import NeedsValuesError, unknown_values
from captum_ad._engine.tags import pointer_of, tensors_in

_aten = torch.ops.aten
_OF_SHAPE = frozenset(
    (_aten.ones_like, _aten.zeros_like, _aten.full_like, _aten.new_ones, _aten.new_zeros, _aten.new_full)
)
_READS = frozenset((Tensor.numpy, Tensor.tolist, Tensor.__array__))


class _WrittenConstantError(Exception):
    """A recorded operator writes into a tensor that was treated as constant: the result of folded operator `number`."""

    def __init__(self, number: int | None) -> None:
        super().__init__()
        self.number = number


def recorded(run: Callable[..., Any], inputs: Sequence[Tensor], held: Iterable[Tensor]) -> fx.GraphModule:
    """Record what a function of tensors computes, as a graph.

    Parameters
    ----------
    run : callable
        Takes the inputs; returns tensors, possibly nested in tuples, lists and dicts.
    inputs : sequence of Tensor
        Examples of the inputs, which differ from run to run.
    held : iterable of Tensor
        Parameters and buffers; the graph reads their current values whenever it runs.

    Raises
    ------
    NeedsValuesError
        If an operation depends on values that differ from run to run.
    """
    held = list(held)
    written: set[int] = set()
    while True:
        try:
            return _Recorder(inputs, held, written).graph_of(run)
        except _WrittenConstantError as error:
            if error.number is None or error.number in written:
                raise NeedsValuesError("an operation writes into a tensor that existed before the forward") from None
            written.add(error.number)


class _Recorder(TorchDispatchMode):
    """Runs operators, and records those that depend on inputs or held tensors, or whose number is in `written`."""

    def __init__(self, inputs: Sequence[Tensor], held: Iterable[Tensor], written: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._root, self._graph, self._written = nn.Module(), fx.Graph(), written
        self._nodes: Any = WeakIdKeyDictionary()
        self._attributes: Any = WeakIdKeyDictionary()
        self._held: Any = WeakIdKeyDictionary(dict.fromkeys(held, True))
        self._folded, self._gradients = 0, torch.is_grad_enabled()
        self._makers: dict[int, int] = {}  # address of memory -> number of the folded operator that made it
        self._inputs = [x.detach().clone() for x in inputs]
        for number, x in enumerate(self._inputs):
            self._nodes[x] = self._graph.placeholder(f"input{number}")

    def graph_of(self, run: Callable[..., Any]) -> fx.GraphModule:
        """Run the function on the inputs and return the recorded graph."""
        with unknown_values(self._varies), _NoReads(self._varies), self:
            leaves, form = tree_flatten(run(*self._inputs))
        odd = [x for x in leaves if x is not None and not isinstance(x, (Tensor, bool, int, float, complex, str))]
        if odd:
            raise UnsupportedOperationError(
                f"the model returns an object ({type(odd[0]).__name__}), which a graph cannot return"
            )
        found = [self._argument(x) if isinstance(x, Tensor) else x for x in leaves]
        self._graph.output(tree_unflatten(found, form))
        made = fx.GraphModule(self._root, self._graph)
        made.meta["shapes"] = [x.shape if isinstance(x, Tensor) and self._varies(x) else () for x in leaves]
        return made

    def _varies(self, x: Tensor) -> bool:
        return x in self._nodes or x in self._held

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator, and record it unless its result is constant."""
        kwargs = dict(kwargs or {})
        given = tensors_in(*args, *kwargs.values())
        varying = any(map(self._varies, given))
        if _is_constant(func, varying):
            self._folded += 1
            if self._folded not in self._written:
                return self._fold(func, args, kwargs, given)
        if varying:
            self._check(func, args, kwargs)
        node = self._graph.call_function(func, *tree_map(self._argument, (tuple(args), kwargs)))
        out = func(*args, **kwargs)
        self._note(node, out)
        return out

    def _fold(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], given: Sequence[Tensor]) -> Any:
        """Run an operator without recording it; its results are constants."""
        used = {pointer_of(x) for x in self._attributes}
        for x in _written_by(func, args, kwargs):
            if pointer_of(x) in used:
                raise _WrittenConstantError(self._makers.get(pointer_of(x)))
        out = func(*args, **kwargs)
        before = {pointer_of(x) for x in given}
        self._makers.update({pointer_of(x): self._folded for x in tensors_in(out) if pointer_of(x) not in before})
        return out

    def _check(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Refuse an operator that reads values in Python, or that writes to a constant."""
        looks = any(tag in func.tags for tag in (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape))
        if func.overloadpacket is _aten.index:
            looks = any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1])
        if looks or func.overloadpacket in (_aten.equal, _aten._local_scalar_dense):
            raise NeedsValuesError(f"{func} depends on values")
        for x in _written_by(func, args, kwargs):
            if x not in self._nodes:
                raise _WrittenConstantError(self._makers.get(pointer_of(x)))

    def _note(self, node: fx.Node, out: Any) -> None:
        """Remember the node of each result; the graph lets no gradient through what ran under ``torch.no_grad``."""
        if isinstance(out, Tensor):
            if out not in self._nodes:
                self._nodes[out] = self._cut(node)
        elif isinstance(out, (tuple, list)):
            for number, one in enumerate(out):
                if isinstance(one, Tensor) and one not in self._nodes:
                    self._nodes[one] = self._cut(self._graph.call_function(operator.getitem, (node, number)))

    def _cut(self, node: fx.Node) -> fx.Node:
        if self._gradients and not torch.is_grad_enabled():
            return self._graph.call_function(_aten.detach.default, (node,))
        return node

    def _argument(self, x: Any) -> Any:
        """The node of a tensor; a tensor that was not recorded becomes an attribute of the graph's module."""
        if not isinstance(x, Tensor):
            return x
        node = self._nodes.get(x)
        if node is not None:
            return node
        name = self._attributes.get(x)
        if name is None:
            name = self._attributes[x] = f"held{len(self._attributes)}"
            if isinstance(x, nn.Parameter):
                self._root.register_parameter(name, x)
            else:
                self._root.register_buffer(name, x)
        return self._graph.get_attr(name)


class _NoReads(TorchFunctionMode):
    """Refuses reads by numpy or Python, which torch's dispatcher does not see."""

    def __init__(self, varies: Callable[[Tensor], bool]) -> None:
        super().__init__()
        self._varies = varies

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a torch function, unless it reads values that differ from run to run."""
        if func in _READS and self._varies(args[0]):
            raise NeedsValuesError(f"{func.__name__} reads values")
        return func(*args, **(kwargs or {}))


def _is_constant(func: Any, varying: bool) -> bool:
    """Whether an operator's result is the same in every run."""
    # Memory from torch.empty will be written to.
    if torch.Tag.nondeterministic_seeded in func.tags or "empty" in func._schema.name:
        return False
    return not varying or func.overloadpacket in _OF_SHAPE


def _written_by(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors that an operator writes into."""
    if not func._schema.is_mutable:
        return []
    found = []
    for number, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found += tensors_in(args[number] if number < len(args) else kwargs.get(argument.name))
    return found
