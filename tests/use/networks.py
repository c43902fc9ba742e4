"""Small networks of all kinds that users explain. They respond to the first half of the input along each dimension."""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Looks(nn.Module):
    """Output 0 grows with the mean of the corner, the others are constant. Takes (N, C, ...) with any spatial dims."""

    def __init__(self, outputs: int = 3, channels: int = 3, bias: float = -1.0) -> None:
        super().__init__()
        self.head = nn.Linear(channels, outputs).requires_grad_(False)
        self.head.weight.zero_()[0] = 6 / channels
        self.head.bias.zero_()[0] = bias
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        for dim in range(2, x.dim()):
            x = x.narrow(dim, 0, x.shape[dim] // 2)
        return self.head(x.mean(tuple(range(2, x.dim()))))


class Preprocesses(Looks):
    """Takes uint8 images, and divides them by 255 inside."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float() / 255)


class OneNumber(Looks):
    """Returns (N,)."""

    def __init__(self, bias: float = -1.0) -> None:
        super().__init__(1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, 0]


class Waveform(Looks):
    """Takes (N, T)."""

    def __init__(self) -> None:
        super().__init__(channels=1)
        self.filter = nn.Conv1d(1, 1, 1, bias=False).requires_grad_(False)
        self.filter.weight.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.filter(x[:, None]))


class Lightning(nn.Module):
    """Looks like a LightningModule: it has a network, a training step, and hyperparameters."""

    def __init__(self) -> None:
        super().__init__()
        self.hparams, self.net, self.loss = {"lr": 1e-3}, Looks(), nn.CrossEntropyLoss()
        self.eval()

    def forward(self, batch: dict[str, Tensor] | Tensor) -> Tensor:
        return self.net(batch["image"] if isinstance(batch, dict) else batch)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        return self.loss(self(batch[0]), batch[1])


@dataclasses.dataclass
class Output:
    """An output like those of Hugging Face's models."""

    logits: Tensor
    hidden_states: tuple[Tensor, ...] = ()


class HuggingFace(Looks):
    """Takes ``pixel_values``, returns an object with ``logits``."""

    def forward(self, pixel_values: Tensor) -> Output:
        return Output(super().forward(pixel_values), (pixel_values,))


class Several(Looks):
    """Returns a tuple."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x), x


class Segments(nn.Module):
    """Predicts class 1 at bright pixels; returns a dict, like torchvision's segmentation networks."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 2, 1).requires_grad_(False)
        self.head.weight.zero_()[1] = 2
        self.head.bias.copy_(torch.tensor([0.0, -1.0]))
        self.eval()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.head(x)}


class Embeds(nn.Module):
    """Returns the mean of each quarter of the image."""

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, 2).flatten(1)


class Copies(nn.Module):
    """An autoencoder that can reproduce only dark images."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(max=0.1)


class ImageAndTable(nn.Module):
    """Takes an image, a table, and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.table = Looks(), nn.Linear(4, 3, bias=False).requires_grad_(False)
        self.table.weight.zero_()[0, 1] = 1
        self.eval()

    def forward(self, image: Tensor, table: Tensor, scale: float = 1.0) -> Tensor:
        return self.image(image) * scale + self.table(table)


class Pair(nn.Module):
    """Takes two images, and weights the second one twice."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Looks()
        self.eval()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.net(a) + 2 * self.net(b)


class Sequence(nn.Module):
    """An LSTM over time steps (N, T, F)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.steps, self.head = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 2)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.steps(x)[0][:, -1])
