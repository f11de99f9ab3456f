"""JupyterLab in a real browser: training.pipeline on the canvas, and our nodes in the palette."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from elyra_nodes import read_node
from elyra_session import TOKEN

from loopline.components import STAGES
from loopline.pipelines.elyra.graph import read_graph
from loopline.pipelines.spec import compiled_folder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs a browser: install Debian's package chromium")
FOLDER = Path(__file__).parents[2] / "notebooks" / "elyra"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
GRAPH = read_graph((compiled_folder() / "training.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """What the file browser shows."""
    folder = tmp_path_factory.mktemp("root")
    shutil.copy(FOLDER / "training.pipeline", folder)
    return folder


@pytest.fixture(scope="module")
def editor(session, root):
    """The editor with training.pipeline, in a workbench that has an image for generic nodes and asks for no news."""
    from playwright.sync_api import sync_playwright

    done = session.run(
        "elyra-metadata", "create", "runtime-images", "--schema_name=runtime-image", "--name=step",
        "--display_name=Loopline step", "--image_name=registry.example.com/ml/loopline-step:0.1.0",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    settings = session.config / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    with session.lab(root) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1720, "height": 800})
        page.set_default_timeout(30_000)
        page.goto(f"{url}/lab/tree/training.pipeline?token={TOKEN}&reset")
        page.locator(".d3-node-group").first.wait_for()
        page.keyboard.press("Control+b")  # closes the file browser
        yield page
        browser.close()


def test_the_canvas_shows_the_steps_by_name(editor):
    labels = editor.locator(".d3-node-group .d3-node-label").all_inner_texts()
    assert sorted(labels) == sorted(step.title for step in GRAPH.steps)
    assert editor.locator(".d3-link-group").count() == len({(a, s.name) for s in GRAPH.steps for a in s.after})
    assert editor.locator(".d3-node-error, .jp-Dialog").count() == 0


def test_the_palette_shows_our_nodes_by_name(editor, tmp_path):
    editor.locator(".togglePalette-action button").click()
    editor.locator(".palette-flyout-category", has_text="Loopline").click()
    editor.locator(".palette-list-item-text-div", has_text="Validate data").wait_for()
    shown = editor.locator(".palette-list-item-text-div").all_inner_texts()
    assert sorted(shown) == sorted(read_node(name)["name"] for name in STAGES)
    editor.screenshot(path=tmp_path / "elyra.png")
    assert (tmp_path / "elyra.png").stat().st_size > 20_000
    editor.locator(".togglePalette-action button").click()


def test_properties_of_a_node_say_where_its_inputs_come_from(editor):
    editor.locator(".toggleOpenPanel-action button").click()
    editor.locator(".d3-node-group", has_text="Compare with champion").click()
    editor.get_by_text("Decide whether a challenger replaces the champion").first.wait_for()
    chosen = editor.locator("select").evaluate_all("all => all.map(one => one.selectedOptions[0]?.textContent)")
    assert {"Train with XGBoost: model", "Load champion: model", "Split data: test"} <= set(chosen)


def test_what_the_editor_saves_is_the_same_pipeline(editor, session, root):
    before = (root / "training.pipeline").read_text(encoding="utf-8")
    editor.locator(".save-action button").click()
    for _ in range(100):
        # The editor writes what it adds; while it writes, the file may be empty.
        saved = (root / "training.pipeline").read_text(encoding="utf-8")
        if "/static/elyra/kubeflow.svg" in saved and saved.endswith("}"):
            break
        editor.wait_for_timeout(100)
    assert "/static/elyra/kubeflow.svg" in saved
    exported = []
    for text in (before, saved):
        document = json.loads(text)
        for parameter in document["pipelines"][0]["app_data"]["properties"]["pipeline_parameters"]:
            parameter["value"] = "given" if parameter["required"] else parameter["default_value"].get("value", "")
        (root / "filled.pipeline").write_text(json.dumps(document))
        exported.append(yaml.safe_load(session.export(root / "filled.pipeline")))
    assert exported[0] == exported[1]


def test_run_asks_first_for_what_must_be_given(editor):
    editor.locator(".run-action button").click()
    dialog = editor.locator(".jp-Dialog")
    dialog.get_by_text("Run pipeline").wait_for()
    labels = [text.rstrip("?") for text in dialog.locator("label").all_inner_texts()]
    assert [text for text in labels if text.endswith("*")] == ["name*", "target*", "uri*"]
    dialog.get_by_role("button", name="Cancel").click()
