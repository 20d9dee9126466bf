"""Constructor calls as plain data, and back."""

import inspect
import json
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqmodels.config import Recorded, class_path, construct, subclasses
from seqmodels.errors import InputError
from seqmodels.nn import LSTM


class Shape(Recorded):
    def __init__(self, corners: int, name: str = "shape", scale: float = 1.0) -> None:
        self.corners, self.name, self.scale = corners, name, scale


class Square(Shape):
    """Its constructor calls another: the outermost speaks."""

    def __init__(self, side: float = 2.0) -> None:
        super().__init__(4, "square", scale=side)


class Plain(Shape):
    """Has no constructor of its own."""


class Scene(Recorded):
    def __init__(self, main: Shape, *, options: Any = None, title: str | None = None) -> None:
        self.main, self.options, self.title = main, options, title


class Passing(Scene):
    """Hands on what it does not name itself."""

    def __init__(self, depth: int = 1, **others: Any) -> None:
        super().__init__(**others)
        self.depth = depth


class Drawn(Recorded, ABC):
    def __init__(self, width: int = 1) -> None:
        self.width = width

    @abstractmethod
    def draw(self) -> None: ...


class NotRecorded:
    def __init__(self, corners: int = 3) -> None:
        self.corners = corners


class Bystander(Recorded):
    """Recorded, but no shape."""

    def __init__(self) -> None:
        raise AssertionError("was built though nobody wanted one")


def through_json(call: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(call))  # type: ignore[no-any-return]


def test_defaults_are_filled_in() -> None:
    wanted = {"corners": 3, "name": "shape", "scale": 1.0}
    for shape in (Shape(3), Shape(corners=3), Shape(3, "shape"), Shape(3, scale=1.0)):
        assert shape.constructor_call == {"class_path": class_path(Shape), "init_args": wanted}
    assert list(Shape(scale=2.0, corners=3).constructor_call["init_args"]) == ["corners", "name", "scale"]


def test_class_path_finds_the_class() -> None:
    assert class_path(Shape) == f"{__name__}.Shape"
    assert class_path(LSTM) == "seqmodels.LSTM"


def test_outermost_constructor_is_recorded() -> None:
    square, plain = Square(3.0), Plain(5)
    assert square.constructor_call == {"class_path": class_path(Square), "init_args": {"side": 3.0}}
    assert (square.corners, square.name, square.scale) == (4, "square", 3.0)
    assert plain.constructor_call["class_path"] == class_path(Plain)
    assert plain.constructor_call["init_args"]["corners"] == 5


def test_every_object_has_a_record_of_its_first_construction() -> None:
    one, other = Shape(3), Shape(4)
    one.__init__(5)  # type: ignore[misc]
    assert [shape.constructor_call["init_args"]["corners"] for shape in (one, other)] == [3, 4]


def test_record_does_not_change_with_the_argument() -> None:
    options = {"colors": ["red"]}
    scene = Scene(Shape(3), options=options)
    options["colors"].append("blue")
    assert scene.constructor_call["init_args"]["options"] == {"colors": ["red"]}


def test_signature_and_docstring_stay() -> None:
    assert list(inspect.signature(Shape).parameters) == ["corners", "name", "scale"]


def test_wrong_arguments_are_a_type_error() -> None:
    with pytest.raises(
        TypeError, match=r"Shape\(\): missing a required argument: 'corners'; its arguments are corners, name, scale"
    ):
        Shape()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        Shape(3, colour="red")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "options",
    [None, True, 3, -0.5, 1e300, "text ä", [], [1, [2.5, "x"], None], {"a": {"b": [False]}, "c": None}, (1, (2,))],
)
def test_round_trip(options: Any) -> None:
    scene = Scene(Square(7.0), options=options, title="t")
    again = construct(through_json(scene.constructor_call), Scene)
    assert again.constructor_call == scene.constructor_call
    assert (type(again), type(again.main), again.main.scale, again.title) == (Scene, Square, 7.0, "t")
    wanted = [1, [2]] if isinstance(options, tuple) else options  # tuples become lists
    assert again.options == wanted
    assert type(again.options) is type(wanted)


def test_paths_are_text() -> None:
    scene = Scene(Shape(3), title=Path("a") / "b")  # type: ignore[arg-type]
    assert scene.title == scene.constructor_call["init_args"]["title"] == "a/b"


def test_an_object_of_this_package_is_expected() -> None:
    for value, named in ((3, "3 of type int"), ("LSTM", "'LSTM' of type str"), (NotRecorded(), "of type NotRecorded")):
        with pytest.raises(InputError, match=rf"Scene\(main=\.\.\.\) was given .*{named}; expected a Shape"):
            Scene(value)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"one that was made, such as Shape\(\.\.\.\), not the class"):
        Scene(Shape)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"Shape\(scale=\.\.\.\) was given the text '2'; expected a number"):
        Shape(3, scale="2")  # type: ignore[arg-type]


def test_objects_in_lists_and_dicts_are_rebuilt() -> None:
    scene = Scene(Shape(3), options={"first": [Square(1.0), Shape(5)], "second": Square(2.0)})
    again = construct(through_json(scene.constructor_call), Scene)
    assert [type(shape) for shape in again.options["first"]] == [Square, Shape]
    assert again.options["second"].scale == 2.0


def test_arguments_handed_on() -> None:
    scene = Passing(2, main=Square(), title="t")
    assert scene.constructor_call["init_args"] == {"depth": 2, "main": Square().constructor_call, "title": "t"}
    again = construct(through_json(scene.constructor_call), Scene)
    assert again.constructor_call == scene.constructor_call
    assert (again.depth, type(again.main), again.title) == (2, Square, "t")


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(2), np.float64(1.0), np.int64(1), b"bytes", {1: "a"}, {"set"}, 1j, object(), len, Shape,
        NotRecorded(), [1, [2, object()]], {"a": {"b": object()}}, float,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_arguments_that_are_not_plain(value: Any) -> None:
    for name in ("options", "title"):
        with pytest.raises(InputError, match=rf"Scene\({name}=\.\.\.\) was given a .*; expected None, bool, int"):
            Scene(Shape(3), **{name: value})


@pytest.mark.parametrize(
    "record",
    [
        None, 3, "Shape", [], {}, {"class_path": class_path(Shape)}, {"init_args": {"corners": 3}},
        {"class_path": class_path(Shape), "init_args": None},
        {"class_path": class_path(Shape), "init_args": [3]},
        {"class_path": class_path(Shape), "init_args": {"corners": 3}, "state": 1},
        *({"class_path": path, "init_args": {"corners": 3}} for path in (None, 3, [class_path(Shape)], {"x": 1})),
    ],
)  # fmt: skip
def test_malformed_records(record: Any) -> None:
    with pytest.raises(InputError, match="expected a constructor call with class_path and init_args for a Shape"):
        construct(record, Shape)


@pytest.mark.parametrize(
    "init_args", [{}, {"corners": 3, "colour": "red"}, {"self": 1, "corners": 3}, {3: 4}, {"cls": 1}]
)
def test_arguments_that_do_not_fit(init_args: dict[Any, Any]) -> None:
    with pytest.raises(InputError, match="cannot be built from the recorded arguments"):
        construct({"class_path": class_path(Shape), "init_args": init_args}, Shape)


@pytest.mark.parametrize(
    "path",
    [
        "os.system", "builtins.eval", "subprocess.Popen", "Shape", f"{__name__}.NotRecorded", f"{__name__}.Bystander",
        f"{__name__}.Nothing", "torch.nn.modules.linear.Linear", "", f"{__name__}.Shape.__init__",
    ],
)  # fmt: skip
def test_unknown_classes_and_those_of_another_base(path: str) -> None:
    message = f"the class {path!r} is not known as a Shape; if it is your own, import its module"
    with pytest.raises(InputError, match=message):
        construct({"class_path": path, "init_args": {"corners": 3}}, Shape)


def test_base_must_be_derived_from_and_the_class_be_concrete() -> None:
    with pytest.raises(InputError, match="is not known as a Square"):
        construct(Shape(3).constructor_call, Square)
    assert type(construct(Square().constructor_call, Shape)) is Square
    with pytest.raises(InputError, match="cannot be built"):
        construct({"class_path": class_path(Drawn), "init_args": {}}, Drawn)


def test_of_classes_of_one_name_the_newest_is_built() -> None:
    """A notebook cell that defines a class is run again."""

    class Base(Recorded):
        pass

    def define() -> type[Base]:
        class Mine(Base):
            def __init__(self, size: int = 1) -> None:
                self.size = size

        return Mine

    classes = [define() for _ in range(3)]
    assert type(construct(classes[0]().constructor_call, Base)) is classes[-1]


@pytest.mark.parametrize("nested", [False, True])
def test_nothing_named_in_a_record_is_imported(nested: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that would tell if it were imported, where Python would find it."""
    name = "named_in_a_file"
    (tmp_path / f"{name}.py").write_text(
        "from seqmodels.config import Recorded\n"
        "class Trap(Recorded):\n    def __init__(self): pass\n"
        f"open({str(tmp_path / 'imported')!r}, 'w')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    record = {"class_path": f"{name}.Trap", "init_args": {}}
    if nested:
        record = {"class_path": class_path(Scene), "init_args": {"main": record}}
    with pytest.raises(InputError, match=rf"'{name}\.Trap' is not known as a Recorded"):
        construct(record, Recorded)
    assert name not in sys.modules
    assert not (tmp_path / "imported").exists()


def test_subclasses() -> None:
    assert sorted(map(class_path, subclasses(Shape))) == sorted(map(class_path, (Shape, Square, Plain)))
    assert {Shape, Square, Scene, LSTM} <= set(subclasses(Recorded))
