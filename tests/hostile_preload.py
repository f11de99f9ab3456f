"""What the processes that are fed hostile inputs have imported before they are forked."""

import importlib
import os

# As in the process of a step.
os.environ["_KFP_RUNTIME"] = "true"

for _name in (
    "kfp.dsl.executor", "hypothesis", "hostile_inputs", "hostile_runs", "loopline.components.command",
    "loopline.components.data.validate",
    "loopline.components.training.train", "loopline.components.model.predictor",
    "loopline.components.evaluation.evaluate",
    "loopline.components.registry.register", "loopline.components.delivery.fetch",
    "loopline.components.monitoring.collect",
):  # fmt: skip
    importlib.import_module(_name)
