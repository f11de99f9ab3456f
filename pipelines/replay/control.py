"""Score the control: a model that is never retrained, asked for the same rows as the sites."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from loopline.components.errors import InputError
from loopline.components.evaluation.scored import predict_rows
from loopline.components.model.predictor import load_predictor
from loopline.pipelines.replay.request import Request


def score_control(model: str | Path, requests: Sequence[Request]) -> np.ndarray:
    """Predict the rows of requests with a model that is not served.

    Args:
        model: The control's model directory.
        requests: Those whose rows are wanted, at least one: ``Sent.requests`` for the rows that the sites answered.

    Returns:
        Double precision, the rows of the requests one after another: probabilities that sum to one, shape
        (rows, classes), or values, shape (rows,).

    Raises:
        InputError: There is no model or no request, or the rows lack a feature.
    """
    if not requests:
        raise InputError("There are no requests to score: no site answered any.")
    table = pa.concat_tables((request.rows for request in requests), promote_options="default")
    return predict_rows(load_predictor(model), table)
