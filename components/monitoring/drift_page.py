"""The page of a window's drift."""

from loopline.components.monitoring import drift_plots
from loopline.components.monitoring.cards import DRIFT_VERDICTS, TONES, drift_tiles
from loopline.components.monitoring.drift import ColumnDrift, Drift
from loopline.components.report import Report

#: Columns that are drawn; at least so many, so that a reader sees what "no drift" looks like.
_DRAWN, _LEAST_DRAWN = 12, 4


def drift_report(drift: Drift) -> Report:
    """Lay out a verdict as a page.

    Args:
        drift: The verdict.

    Returns:
        The page, not yet written.
    """
    report = Report(
        f"Drift of {drift.reference.name}: {DRIFT_VERDICTS[drift.verdict]}",
        f"{drift.summary.rows:,} rows beside {drift.reference.rows:,} of training; tests by {drift.settings.engine}",
    )
    report.tiles(drift_tiles(drift))
    report.section("Verdict")
    report.text(drift.reason, TONES[drift.verdict])
    if drift.verdict == "broken":
        report.text(
            "Broken is not drifted: no retraining helps where the data themselves are wrong, and a model trained on "
            "them would be wrong as well. Somebody has to look at where they come from.",
            "note",
        )
    if drift.summary.rows:
        _add_columns(report, drift)
        _add_whole(report, drift)
        _add_pairs(report, drift)
    _add_method(report, drift)
    return report


def _add_columns(report: Report, drift: Drift) -> None:
    report.section("Columns, the most moved first")
    report.figure(
        drift_plots.draw_ranking(drift),
        "Colored columns have drifted or are broken. A bar beyond the dashed line without color is large, but chance "
        "explains it.",
    )
    report.table(
        ["column", "role", "state", "adjusted p", "PSI", "Wasserstein (sd)", "KS or TV", "missing", "at training",
         "unseen", "outside"],
        [_row(one) for one in drift.columns],
    )  # fmt: skip
    for one in drift.columns:
        if one.broken:
            report.text(one.broken, "bad")
    drawn = [one for one in drift.columns if one.effects.ks is not None]
    moved = sum(one.drifted or bool(one.broken) for one in drawn)
    drawn = drawn[: min(_DRAWN, max(moved, _LEAST_DRAWN))]
    if not drawn:
        return
    report.section("Before and after")
    report.text("Gray is training, blue is this window; the tinted band is the range that training saw.")
    for start in range(0, len(drawn), 2):
        report.figure(drift_plots.draw_columns(drift, drawn[start : start + 2]))
    if moved > len(drawn):
        report.text(f"{moved - len(drawn)} more columns moved; the table above has them.")


def _row(one: ColumnDrift) -> list:
    effects = one.effects
    state = "broken" if one.broken else "drifted" if one.drifted else "steady"
    return [
        one.column.name, one.column.role, state, _p_value(one.adjusted_p), effects.psi, effects.wasserstein_sd,
        effects.ks, _share(effects.missing), _share(effects.missing_reference), _share(effects.unseen),
        _share(effects.outside),
    ]  # fmt: skip


def _add_whole(report: Report, drift: Drift) -> None:
    if not drift.domain and not drift.joint:
        return
    report.section("All columns together")
    if drift.domain:
        state = "drift" if drift.domain["drifted"] else "no drift"
        report.text(
            f"A classifier that learned to tell this window from the reference reaches an AUC of "
            f"{drift.domain['auc']:.3f} ({drift.domain['auc_low']:.3f} to {drift.domain['auc_high']:.3f}) on rows it "
            f"has not seen, of {drift.domain['rows']:,} (0.5: it cannot tell them apart): {state}."
        )
    if drift.joint:
        state = "drift" if drift.joint["drifted"] else "no drift"
        report.text(
            f"Taken together, {drift.joint['columns']} numbers moved by {drift.joint['shift']:.3f} standard deviations "
            f"each (root mean square, less what chance gives): {state}."
        )


def _add_pairs(report: Report, drift: Drift) -> None:
    if not drift.pairs:
        return
    report.section("Pairs whose correlation changed most")
    report.text("Two columns can each look as before while they no longer go together. Correlations are Spearman's.")
    report.table(
        ["first", "second", "at training", "now", "adjusted p", "state"],
        [
            [pair["first"], pair["second"], f"{pair['reference']:.3f}", f"{pair['current']:.3f}",
             _p_value(pair["adjusted_p"]), "changed" if pair["drifted"] else "steady"]
            for pair in drift.pairs
        ],
    )  # fmt: skip


def _add_method(report: Report, drift: Drift) -> None:
    settings = drift.settings
    report.section("How this was judged")
    report.text(
        f"Drift is what is significant and large. Significant: an adjusted p-value below {settings.alpha:g}, which "
        "holds for all columns and tests of this page together. Large, for a column: a Wasserstein distance of "
        f"{settings.shift:g} standard deviations, {settings.share:.1%} of the rows moved (Kolmogorov-Smirnov, total "
        f"variation, share of missing values), or a PSI of {settings.psi:g}; for a pair: a change of "
        f"{settings.correlation:g}; for the classifier: an AUC of {settings.auc:g}."
    )
    report.text(
        f"Sizes come from all rows, counted in the bins of the training profile; tests from at most "
        f"{settings.sample:,} rows of either side. Fewer than {settings.min_rows:,} rows are not judged. Predictions "
        "are those that this very model logged, beside its scores of held-out rows."
    )


def _p_value(value: float | None) -> str | None:
    if value is None:
        return None
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"
