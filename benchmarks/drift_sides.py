"""One side of the drift benchmark in a process of its own: python drift_sides.py SIDE REFERENCE CURRENT [...].

Runs in the environment of whatever it measures, so it imports nothing else; prints one line of JSON.
"""

import json
import sys
import time
from collections.abc import Callable


def resident(field: str) -> float:
    with open("/proc/self/status") as lines:
        return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def prepare_loopline(reference: str, *current: str) -> Callable[[], str]:
    import scipy.stats  # noqa: F401
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: F401

    from loopline.components.data.schema import Column, Schema
    from loopline.components.data.tables import open_parquet
    from loopline.components.monitoring.drift import DriftSettings, judge
    from loopline.components.monitoring.reference_table import reference_of_table
    from loopline.components.monitoring.summary import summarize_traffic

    with open_parquet(reference) as file:
        names = file.schema_arrow.names
    schema = Schema(tuple(Column(name, "category" if name.startswith("text") else "number") for name in names))

    def run() -> str:
        settings = DriftSettings(engine="scipy")
        profile = reference_of_table(reference, schema)
        found = judge(profile, summarize_traffic(current, profile, settings.sample), settings)
        return f"{found.verdict}: {', '.join(one.column.name for one in found.columns if one.drifted) or 'no column'}"

    return run


def prepare_alibi_codes(reference: str, current: str) -> Callable[[], str]:
    return _prepare_alibi(reference, current, True)


def prepare_alibi_text(reference: str, current: str) -> Callable[[], str]:
    return _prepare_alibi(reference, current, False)


def _prepare_alibi(reference: str, current: str, codes: bool) -> Callable[[], str]:
    import numpy as np
    import pyarrow.parquet as pq
    from alibi_detect.cd import TabularDrift

    names = pq.read_schema(reference).names
    texts = [i for i, name in enumerate(names) if name.startswith("text")]

    def matrix(path: str) -> np.ndarray:
        table = pq.read_table(path, columns=names)
        columns = []
        for name in names:
            values = table.column(name)
            if codes and name.startswith("text"):
                # The generator's levels sort alike on both sides.
                values = values.combine_chunks().dictionary_encode()
                order = np.argsort(np.argsort(values.dictionary.to_numpy(zero_copy_only=False)))
                columns.append(order[values.indices.to_numpy()].astype(np.float32))
            else:
                columns.append(values.to_numpy())
        if codes:
            return np.column_stack(columns).astype(np.float32)
        found = np.empty((table.num_rows, len(names)), object)
        for i, values in enumerate(columns):
            found[:, i] = values
        return found

    def run() -> str:
        detector = TabularDrift(matrix(reference), p_val=0.05, categories_per_feature=dict.fromkeys(texts))
        answer = detector.predict(matrix(current))["data"]
        moved = [name for name, p in zip(names, answer["p_val"], strict=True) if p < answer["threshold"]]
        return f"{'drift' if answer['is_drift'] else 'none'}: {', '.join(moved) or 'no column'}"

    return run


def prepare_evidently(reference: str, current: str) -> Callable[[], str]:
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    names = list(pd.read_parquet(reference).columns)

    def run() -> str:
        before, now = pd.read_parquet(reference), pd.read_parquet(current, columns=names)
        answer = Report([DataDriftPreset()]).run(now, before).dict()
        share = answer["metrics"][0]["value"]
        return f"{int(share['count'])} of {len(names)} columns"

    return run


def prepare_nannyml(reference: str, current: str) -> Callable[[], str]:
    import nannyml
    import pandas as pd

    names = list(pd.read_parquet(reference).columns)

    def run() -> str:
        before, now = pd.read_parquet(reference), pd.read_parquet(current, columns=names)
        calculator = nannyml.UnivariateDriftCalculator(
            column_names=names,
            continuous_methods=["kolmogorov_smirnov"],
            categorical_methods=["chi2"],
            chunk_number=1,
        )
        found = calculator.fit(before).calculate(now).filter(period="analysis").to_df()
        alerts = [column for column in found.columns if column[-1] == "alert" and bool(found[column].iloc[0])]
        return f"{len(alerts)} of {len(names)} columns"

    return run


def main(side: str, *paths: str) -> None:
    run = globals()[f"prepare_{side}"](*paths)
    before, start = resident("VmRSS"), time.perf_counter()
    result = run()
    seconds = time.perf_counter() - start
    print("MEASURED " + json.dumps({"seconds": seconds, "mb": resident("VmHWM") - before, "result": result}))


if __name__ == "__main__":
    main(*sys.argv[1:])
