"""Settings that depend on a name: the fields of the group, and the options of the constructor with that name.

    sampler=hmc            the fields of `Sampler`, and leapfrog_steps, which `hmc` takes besides f and step_size
    sampler=mine.py:kick   the fields of `Sampler`, and whatever the user's function `kick` takes; and its file's sha256

A constructor's signature defines its options: name, type, range (`Annotated`) and default. An argument that cannot be
written as text, such as a tensor, is not an option.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from inspect import Parameter, signature
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Union, get_args, get_origin

from pydantic import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from anila.messages import did_you_mean, in_a_sentence
from anila.runs.experiment.code import is_code, load_code
from anila.runs.plain import STRICT


class Choice:
    """The settings of a group, with the options of the constructor called `name`.

    Calling the group makes the choice: `Sampler(name="hmc", leapfrog_steps=4)` has the options of `hmc`.
    """

    GROUP: ClassVar[str]
    TABLE: ClassVar[Mapping[str, Callable[..., Any]]]
    """Name -> constructor."""
    GIVEN: ClassVar[tuple[str, ...]]
    """Arguments of a constructor that are not options."""
    FORMER: ClassVar[tuple[str, ...]]
    """Options that version 0.1.0 saved for any name."""

    name: str
    make: ClassVar[Callable[..., Any]]
    """The constructor."""
    own: ClassVar[tuple[str, ...]] = ()
    """Its options."""
    needed: ClassVar[tuple[str, ...]] = ()
    """Options without a default."""

    if TYPE_CHECKING:  # the name decides which fields exist

        def __init__(self, **settings: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...

    def __new__(cls, *_: Any, **settings: Any) -> Any:
        return object.__new__(cls.kind(settings.get("name", cls.name)) if cls is cls.group() else cls)

    def __reduce__(self) -> Any:
        return chosen, (self.group(), asdict(self))  # pyright: ignore[reportArgumentType]

    @property
    def options(self) -> dict[str, Any]:
        """The values of the constructor's options."""
        return {name: getattr(self, name) for name in self.own}

    @property
    def has_changed(self) -> bool:
        """Whether the constructor's file has changed since the settings were made."""
        return getattr(self, "code", None) != getattr(type(self), "code", None)

    @classmethod
    def group(cls) -> Any:
        """The class of the group, of which the classes of names are subclasses."""
        return cls.__base__ if "make" in vars(cls) else cls

    @classmethod
    def kind(cls, name: str) -> Any:
        """The class of settings for this name.

        Raises:
            ValueError: If the name is unknown, or its options cannot be determined.
        """
        if is_code(name):
            try:
                code = load_code(name, cls.GROUP)
            except FileNotFoundError as error:  # settings are refused with one type of error
                raise ValueError(str(error)) from None
            return with_options(cls.group(), code.word, code.thing, code.digest)
        if name not in cls.TABLE:
            near = did_you_mean(name, cls.TABLE) or f"; known: {', '.join(cls.TABLE)}"
            raise ValueError(f"{cls.GROUP}.name: no {cls.GROUP} {name!r}{near}; your own is FILE.py:NAME")
        return with_options(cls.group(), name, cls.TABLE[name])

    @classmethod
    def owners(cls, option: str) -> list[str]:
        """The names in the table whose constructors take an option."""
        return [name for name in cls.TABLE if option in cls.kind(name).own]

    @classmethod
    def refusal(cls, name: str, option: str, value: Any) -> str:  # noqa: ARG003
        """Why a setting that this name does not have is refused; empty if no name has it."""
        owners = cls.owners(option)
        return f"{name} has no {option}, which is a setting of {in_a_sentence(owners, 'and')}" if owners else ""


def chosen(group: type[Choice], settings: Any) -> Any:
    """The checked settings of a dictionary.

    Raises:
        ValidationError: Naming every mistake.
        ValueError: As in `Choice.kind`.
    """
    if isinstance(settings, group):
        return settings
    found = TypeAdapter(dict[str, Any]).validate_python(settings)
    kind = group.kind(str(found.get("name", group.name)))
    given = {name: value for name, value in found.items() if not (value is None and name in kind.needed)}
    return TypeAdapter(kind).validate_python(given | {"name": kind.name})


def reasons(error: ValidationError) -> str:
    """What is wrong with settings, without the library's phrases."""
    return "; ".join(str(e.get("ctx", {}).get("error") or e["msg"]) for e in error.errors())


@cache
def with_options(group: type[Choice], name: str, make: Callable[..., Any], digest: str | None = None) -> Any:
    """The class of a group's settings with the options of a constructor, and the digest of its file.

    Raises:
        ValueError: As in `options`, or if an option has the name of a field of the group.
    """
    own = options(make, group.GIVEN, f"{group.GROUP} {name}")
    if both := [p.name for p in own if p.name in (*group.__annotations__, "code")]:
        raise ValueError(f"{group.GROUP} {name}: {both[0]} is a setting of every {group.GROUP}; rename its argument")
    types = {"name": str, **{p.name: p.annotation for p in own}} | ({} if digest is None else {"code": str})
    defaults = {p.name: p.default for p in own if p.default is not Parameter.empty}
    facts = {
        "make": staticmethod(make),
        "own": tuple(p.name for p in own),
        "needed": tuple(p.name for p in own if p.name not in defaults),
    }
    defaults |= {"name": name} | ({} if digest is None else {"code": digest})
    body = {"__annotations__": types, "__doc__": group.__doc__, "__module__": group.__module__, **defaults, **facts}
    return dataclass(frozen=True, config=STRICT, kw_only=True)(type(group.__name__, (group,), body))


def options(make: Callable[..., Any], given: tuple[str, ...], what: str) -> list[Parameter]:
    """The arguments of a constructor that can be written as text, with their types.

    Raises:
        ValueError: If a required one cannot be written, or has no type annotation.
    """
    found = []
    for p in signature(make, eval_str=True).parameters.values():
        if p.name in given or p.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            continue
        typed = written(type(p.default) if p.annotation is Parameter.empty else p.annotation)
        if typed is not None:
            found.append(p.replace(annotation=typed))
        elif p.default is Parameter.empty:
            raise ValueError(f"{what}: its argument {p.name} needs a type that can be written, e.g. {p.name}: float")
    return found


def written(kind: Any) -> Any:
    """The part of a type that can be written as text; None if there is none. Sequences are tuples.

    >>> from torch import Tensor
    >>> written(float | Tensor), written(Tensor | None), written(Sequence[float])
    (<class 'float'>, None, tuple[float, ...])
    """
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    parts = [tuple[get_args(part)[0], ...] if get_origin(part) is Sequence else part for part in parts]
    kept = [part for part in parts if is_written(part)]
    return Union[tuple(kept)] if {*kept} - {NoneType} else None  # noqa: UP007


def is_written(kind: Any) -> bool:
    """Whether texts and numbers can be read as this type, and its values written as such: a function's cannot."""
    if kind in (type, Parameter.empty):
        return False
    try:
        TypeAdapter(kind).json_schema()
    except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema):
        return False
    return True
