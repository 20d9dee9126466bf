"""The format of checkpoints: to the bit, with any plain content, under a trainer of the user's own."""

import errno
import math
import resource
import signal
from collections import OrderedDict
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors import safe_open
from torch import Tensor, nn
from torch.testing import assert_close
from trainers import small_model, small_module, train, trainer

from seqmodels import InputError, load
from seqmodels.checkpoints.checkpoint_io import SafetensorsCheckpointIO
from seqmodels.checkpoints.safetensors_io import ALIGNMENT, DTYPES, read, write


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same to the bit, in type and in order."""
    if isinstance(one, Tensor):
        return (
            isinstance(other, Tensor)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and _bytes(one) == _bytes(other)
        )
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return (
            len(one) == len(other)
            and all(map(same, one, other))
            and all(map(same, one.values(), other.values()))
            and getattr(one, "_metadata", None) == getattr(other, "_metadata", None)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (one == other and math.copysign(1, one * other) > 0)
    return bool(one == other)


def _bytes(tensor: Tensor) -> bytes:
    return bytes(tensor.resolve_conj().contiguous().reshape(-1).view(torch.uint8).numpy().data)


TENSORS = st.builds(
    lambda dtype, shape, seed: (
        torch.randint(0, 2, (*shape, dtype.itemsize), dtype=torch.uint8).view(dtype)
        if dtype is torch.bool
        else torch.randint(0, 256, (*shape, dtype.itemsize), dtype=torch.uint8).view(dtype).reshape(shape)
    ),
    st.sampled_from(list(DTYPES.values())),
    st.lists(st.integers(0, 5), max_size=3),
    st.integers(),
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8)
VALUES = st.recursive(
    SCALARS | TENSORS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers() | st.sampled_from(["$tensor", "a.b"]), inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4).map(OrderedDict)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=5))
@settings(max_examples=80, deadline=None)
def test_any_content_survives(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("any") / "content"
    write(path, content)
    assert same(read(path), content)
    for key in list(content)[:1] if not any(name.startswith("$") for name in content) else []:
        assert same(read(path, keys=(key,)), {key: content[key]})


def test_layouts_of_tensors(tmp_path: Path) -> None:
    """Views, tied tensors and versions of modules; each tensor begins where kernels round as they do elsewhere."""
    weight = torch.randn(8, 16)
    weights = OrderedDict(a=weight, tied=weight, transposed=weight.T, part=weight[2:4], one=torch.tensor(2.5))
    weights._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    content = {
        "state_dict": weights,
        "expanded": torch.ones(1).expand(3, 4),
        "empty": torch.empty(0, 3),
        "strided": torch.arange(10)[::3],
        "conjugated": torch.randn(3, dtype=torch.complex64).conj(),
        "odd": [torch.randn(number) for number in range(1, 9)],
        "a": {"b": torch.ones(1)},
        "a.b": torch.zeros(1),
    }
    write(tmp_path / "file", content)
    found = read(tmp_path / "file")
    assert same(found, content)
    assert found["state_dict"]["a"] is found["state_dict"]["tied"]
    assert all(tensor.data_ptr() % ALIGNMENT == 0 for tensor in (*found["state_dict"].values(), *found["odd"]))
    with safe_open(tmp_path / "file", "pt") as theirs:  # the library reads the same
        assert {"state_dict.tied", "state_dict.one"} & set(theirs.keys()) == {"state_dict.one"}
        assert same(theirs.get_tensor("state_dict.transposed"), weight.T.contiguous())
        assert same(theirs.get_tensor("conjugated"), content["conjugated"].resolve_conj())  # type: ignore[attr-defined]
    write(tmp_path / "again", found)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "file").read_bytes()


class Own:
    """No plain data."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"callbacks": {"Mine": {"folder": Path("runs")}}}, r"callbacks\.Mine\.folder is a PosixPath"),
        ({"a": [1, (Own(),)]}, r"a\.1\.0 is a Own"),
        ({"a": {1, 2}}, "a is a set"),
        ({"a": {Own(): 1}}, "is a Own"),
        ({"a": torch.float32}, "a is a dtype"),
        ({"a": torch.empty(2, device="meta")}, "on meta"),
        ({"a": torch.ones(2, 2).to_sparse()}, "torch.sparse_coo"),
        ({"a": torch.ones(2, dtype=torch.complex128)}, "complex128"),
    ],
)
def test_what_cannot_be_stored(tmp_path: Path, content: dict[Any, Any], message: str) -> None:
    write(tmp_path / "file", {"a": 1})
    with pytest.raises(InputError, match=message):
        write(tmp_path / "file", content)
    nested: list[Any] = []
    nested.append(nested)
    with pytest.raises(InputError, match="nested too deeply"):
        write(tmp_path / "file", {"a": nested})
    assert read(tmp_path / "file") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


class Plain(pl.LightningModule):
    """A model that knows nothing of this package."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.Dropout(0.5))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.layers(batch).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2)}


@pytest.mark.filterwarnings("ignore")
def test_trainer_of_the_users_own(tmp_path: Path) -> None:
    """With Lightning's own ModelCheckpoint: saved, resumed and loaded, to the same weights as in one run."""
    batches = torch.utils.data.DataLoader(torch.randn(8, 4), batch_size=2, generator=torch.Generator().manual_seed(0))

    def run(epochs: int, resume: Path | None = None) -> tuple[Plain, Path]:
        torch.manual_seed(0)
        keeps = ModelCheckpoint(tmp_path / str(epochs), monitor="loss", save_last=True, save_top_k=2)
        model = Plain()
        model.layers[2].p = 0.0
        settings = {"max_epochs": epochs, "enable_checkpointing": True}
        trainer(-1, keeps, **settings).fit(model, batches, ckpt_path=resume)  # type: ignore[arg-type]
        assert keeps.best_model_path
        return model, tmp_path / str(epochs) / "last.ckpt"

    whole, _ = run(4)
    _, path = run(2)
    assert read(path)["hyper_parameters"] == {"width": 4}
    resumed, _ = run(4, resume=path)
    for name, tensor in whole.state_dict().items():
        assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=0, msg=name)


def test_language_model_under_a_trainer_of_the_users_own(text_file: Path, tmp_path: Path) -> None:
    data = small_module(text_file, True)
    model = small_model(data)
    keeps = ModelCheckpoint(tmp_path, save_last=True)
    train(model, data, 3, keeps, enable_checkpointing=True)
    assert same(dict(load(tmp_path / "last.ckpt").state_dict()), dict(model.state_dict()))


def test_full_disk(tmp_path: Path) -> None:
    """One line for the user, and the file of before is whole."""
    path, files = tmp_path / "model", SafetensorsCheckpointIO()
    files.save_checkpoint({"a": torch.zeros(4)}, path)
    before, limit = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(InputError, match="could not be saved") as caught:
            files.save_checkpoint({"a": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    files.remove_checkpoint(path)
    assert not path.exists()
