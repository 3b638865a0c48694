import pytest
from admf.domain.errors import ConfigurationError, UnknownNameError
from admf.domain.registry import Registry


def one():
    pass


def other():
    pass


@pytest.fixture
def registry():
    components = Registry("color")
    components.register("red", one)
    return components


def test_a_component_is_found_by_its_name(registry):
    assert registry.get("red") is one
    assert "red" in registry
    assert "green" not in registry


def test_names_are_listed_in_order(registry):
    registry.register("blue", other)
    assert list(registry) == ["blue", "red"]


def test_an_unknown_name_is_refused_with_its_path_and_the_nearest_match(registry):
    with pytest.raises(UnknownNameError, match=r"^paint\.color: unknown color 'rad'\. Did you mean red\?$"):
        registry.get("rad", "paint.color")


def test_a_name_far_from_all_others_is_refused_with_what_is_known(registry):
    with pytest.raises(UnknownNameError, match=r"^unknown color 'ultramarine'\. Known: red\.$"):
        registry.get("ultramarine")


def test_a_name_is_taken_once(registry):
    with pytest.raises(
        ConfigurationError, match="the color 'red' is registered already; choose another name"
    ):
        registry.register("red", other)
    assert registry.get("red") is one


def test_the_same_source_may_be_executed_again(registry):
    first = registry.get("red")
    source = {"__name__": first.__module__}
    exec("def one(): return 'new'", source)
    registry.register("red", source["one"])
    assert registry.get("red")() == "new"
