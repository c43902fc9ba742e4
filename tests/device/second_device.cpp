// A second device for machines that have none: memory of the CPU under another name.
//
// Every operation is run by the CPU's kernel on the same memory. One that is given tensors of both
// devices fails, as it would on a GPU, where numbers (tensors of no dimensions) may come from the CPU.
// Counted are operations, and the values that Python fetches: each makes it wait for a real device.

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

namespace {

using at::Tensor;
using Sizes = c10::SymIntArrayRef;
using Stack = torch::jit::Stack;

const c10::Device device(c10::DeviceType::PrivateUse1, 0);
int64_t operations = 0, fetches = 0;

struct Guard final : c10::impl::DeviceGuardImplInterface {
  const c10::Stream stream{c10::Stream::DEFAULT, device};
  c10::DeviceType type() const override { return device.type(); }
  c10::Device exchangeDevice(c10::Device) const override { return device; }
  c10::Device getDevice() const override { return device; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override { return stream; }
  c10::Stream getNewStream(c10::Device, int) const override { return stream; }
  c10::Stream exchangeStream(c10::Stream) const override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  bool isAvailable() const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
};

bool is_ours(const Tensor& x) { return x.defined() && x.device() == device; }

// A tensor like `like` over the memory of a storage, which it keeps alive, on a device.
Tensor over(const c10::Storage& memory, c10::Device where, const Tensor& like) {
  c10::DataPtr data(
      const_cast<void*>(memory.data()), new c10::Storage(memory),
      [](void* kept) { delete static_cast<c10::Storage*>(kept); }, where);
  auto* allocator = c10::GetAllocator(c10::kCPU);  // an out= that begins empty is given memory
  c10::Storage storage(c10::Storage::use_byte_size_t(), memory.nbytes(), std::move(data), allocator, true);
  auto key = where.is_cpu() ? c10::DispatchKey::CPU : c10::DispatchKey::PrivateUse1;
  auto x = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), c10::DispatchKeySet(key), like.dtype());
  x.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  return x;
}

Tensor on_cpu(const Tensor& x) { return is_ours(x) ? over(x.storage(), c10::kCPU, x) : x; }

// A result of the CPU on the device: a view of an operand's memory if it is one.
Tensor on_device(const Tensor& x, const std::vector<Tensor>& operands = {}) {
  if (!x.defined() || !x.device().is_cpu()) return x;
  for (const Tensor& operand : operands) {
    if (is_ours(operand) && x.storage().nbytes() > 0 && operand.storage().data() == x.storage().data()) {
      auto view = at::detail::make_tensor<c10::TensorImpl>(
          c10::Storage(operand.storage()), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), x.dtype());
      view.unsafeGetTensorImpl()->set_sizes_and_strides(x.sizes(), x.strides(), x.storage_offset());
      return view;
    }
  }
  return over(x.storage(), device, x);
}

std::vector<Tensor> tensors_in(const c10::IValue& value) {
  std::vector<Tensor> found;
  if (value.isTensor()) found.push_back(value.toTensor());
  if (value.isList())
    for (const c10::IValue& item : value.toListRef())
      if (item.isTensor()) found.push_back(item.toTensor());
  return found;
}

// A value with its tensors replaced.
template <typename Change>
c10::IValue changed(const c10::IValue& value, Change change) {
  if (value.isTensor()) return change(value.toTensor());
  if (value.isTensorList()) {
    std::vector<Tensor> list;
    for (const Tensor& x : value.toTensorVector()) list.push_back(change(x));
    return list;
  }
  if (value.isList() && !tensors_in(value).empty()) {  // indices: some may be none
    c10::List<std::optional<Tensor>> list;
    for (const c10::IValue& item : value.toListRef())
      list.push_back(item.isNone() ? std::optional<Tensor>() : change(item.toTensor()));
    return list;
  }
  return value;
}

// The operand that an operation wrote `result` into; none if it is new.
c10::IValue written(const c10::OperatorHandle& op, size_t result, const std::vector<c10::IValue>& operands) {
  const auto* where = op.schema().returns()[result].alias_info();
  for (size_t i = 0; where && where->isWrite() && i < operands.size(); ++i) {
    const auto* of = op.schema().arguments()[i].alias_info();
    if (of && of->isWrite() && of->beforeSets() == where->beforeSets() && operands[i].isTensor()) return operands[i];
  }
  return {};
}

void run_on_cpu(const c10::OperatorHandle& op, Stack* stack) {
  ++operations;
  const std::string& name = op.schema().operator_name().name;
  for (const char* fetch : {"aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::masked_select"})
    fetches += name == fetch;
  std::vector<c10::IValue> given = torch::jit::pop(*stack, op.schema().arguments().size());
  std::vector<Tensor> operands;
  bool theirs = false, ours = false;
  for (const c10::IValue& value : given)
    for (const Tensor& x : tensors_in(value))
      if (x.defined()) {
        operands.push_back(x);
        (is_ours(x) ? ours : theirs) |= is_ours(x) || x.dim() > 0;
      }
  TORCH_CHECK(!(theirs && ours), "two devices meet in ", name);
  for (const c10::IValue& value : given)
    stack->push_back(value.isDevice() ? c10::IValue(c10::Device(c10::kCPU)) : changed(value, on_cpu));
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  std::vector<c10::IValue> results = torch::jit::pop(*stack, op.schema().returns().size());
  for (size_t i = 0; i < results.size(); ++i) {
    c10::IValue target = written(op, i, given);
    if (!target.isTensor()) {
      stack->push_back(changed(results[i], [&](const Tensor& x) { return on_device(x, operands); }));
      continue;
    }
    const Tensor &x = target.toTensor(), &now = results[i].toTensor();
    if (is_ours(x) && (x.sizes() != now.sizes() || x.storage().data() != now.storage().data())) {  // resized
      x.unsafeGetTensorImpl()->set_storage_keep_dtype(on_device(now).storage());
      x.unsafeGetTensorImpl()->set_sizes_and_strides(now.sizes(), now.strides(), now.storage_offset());
    }
    stack->push_back(target);
  }
}

at::TensorOptions of_cpu(std::optional<at::ScalarType> dtype) { return at::TensorOptions(c10::kCPU).dtype(dtype); }

Tensor empty(
    Sizes sizes, std::optional<at::ScalarType> dtype, std::optional<at::Layout>, std::optional<at::Device>,
    std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return on_device(at::empty(C10_AS_INTARRAYREF_SLOW(sizes), of_cpu(dtype), format));
}

Tensor empty_strided(
    Sizes sizes, Sizes strides, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<at::Device>, std::optional<bool>) {
  return on_device(
      at::empty_strided(C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides), of_cpu(dtype)));
}

Tensor copy_from(const Tensor& from, const Tensor& to, bool) {
  ++operations;
  fetches += !is_ours(to);
  on_cpu(to).copy_(on_cpu(from));
  return to;
}

Tensor convolution(
    const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, Sizes stride, Sizes padding,
    Sizes dilation, bool transposed, Sizes output_padding, c10::SymInt groups) {
  ++operations;
  bool biased = bias && bias->defined();
  TORCH_CHECK(is_ours(x) && is_ours(weight) && (!biased || is_ours(*bias)), "two devices meet in convolution");
  return on_device(at::convolution(
      on_cpu(x), on_cpu(weight), biased ? std::optional<Tensor>(on_cpu(*bias)) : std::nullopt,
      C10_AS_INTARRAYREF_SLOW(stride), C10_AS_INTARRAYREF_SLOW(padding), C10_AS_INTARRAYREF_SLOW(dilation), transposed,
      C10_AS_INTARRAYREF_SLOW(output_padding), groups.expect_int()));
}

int64_t counted(bool of_fetches) { return of_fetches ? fetches : operations; }

}  // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("_copy_from", copy_from);
  m.impl("convolution_overrideable", convolution);
}

TORCH_LIBRARY(second_device, m) {
  static Hooks hooks;
  at::RegisterPrivateUse1HooksInterface(&hooks);
  m.def("counted(bool of_fetches) -> int", counted);
}
