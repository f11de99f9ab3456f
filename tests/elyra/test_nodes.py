"""Every node of the palette runs: its command as it stands in the YAML, on real data, models, stores and servers."""

from pathlib import Path

import pytest
from elyra_world import World
from import_budget import ALLOWED, heavy_imports, recording

from loopline.components import STAGES
from loopline.components.interface import describe


@pytest.fixture(scope="module")
def world(tmp_path_factory, bundled):
    folder = tmp_path_factory.mktemp("world")
    one = World(folder, bundled["breast_cancer"], {"HOME": str(folder), **recording(folder / "imports")})
    yield one
    one.close()


@pytest.mark.parametrize("component", STAGES)
def test_node_runs(world, component):
    outputs = getattr(world, component)
    for port in describe(component).outputs:
        # KFP makes the names of a container's outputs lower-case.
        found = outputs[port.name.lower()]
        if port.artifact:
            assert type(found).__name__ == port.type
            assert Path(found.path).exists(), f"{component} leaves nothing at {port.name}"
        else:
            assert type(found) is {"String": str, "Integer": int, "Float": float, "List": list}[port.type]


@pytest.mark.parametrize("component", STAGES)
def test_a_step_imports_no_more_than_it_needs(world, component):
    """What a step imports is most of its time where it has little to do, and every pod pays it anew."""
    getattr(world, component)
    assert component in ALLOWED, f"say in import_budget.py what {component} may import"
    more = heavy_imports(world.folder / "imports", component) - set(ALLOWED[component].split())
    assert not more, f"{component} now imports {', '.join(sorted(more))}: import it where it is needed, or allow it"
