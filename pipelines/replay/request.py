"""What is sent in a replay: the rows of one request, with the truth that becomes known later."""

import datetime
from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Request:
    """Rows that one site is asked for at once.

    Attributes:
        id: The request's id, unique in the replay; printable ASCII.
        site: The site that is asked.
        day: The day of the events.
        rows: The features.
        truth: What was to be predicted, shape (rows,): class labels or values.
    """

    id: str
    site: str
    day: datetime.date
    rows: pa.Table
    truth: np.ndarray
