"""The sides of the ingest benchmark that run in polars' environment."""


def whole(source: str, target: str) -> int:
    """Read the whole CSV into a frame and write it."""
    import polars

    frame = polars.read_csv(source)
    frame.write_parquet(target)
    return len(frame)


def streamed(source: str, target: str) -> int:
    """Let polars' streaming engine write what it reads."""
    import polars

    polars.scan_csv(source).sink_parquet(target)
    return polars.scan_parquet(target).select(polars.len()).collect().item()
