"""One form for every figure: a JSON object a line.

`benchmark` is what was measured and `value` the figure, in `unit` ("cpu s": seconds of the processors, which
other work on the machine disturbs less than the clock). `peer` is what the same run needs for the same work
done otherwise, `limit` the most the figure may be. `ratio` is the value over that, `target` the most the
ratio may be and `met` whether it is; a figure without a target is only told.
"""

import json

_MET: list[bool] = []
_MISSED: list[str] = []


def tell(
    benchmark: str,
    value: float,
    unit: str = "s",
    *,
    peer: float | None = None,
    limit: float | None = None,
    target: float | None = None,
    **more: object,
) -> None:
    """Print one figure, and remember whether its target was met.

    Args:
        benchmark: what was measured.
        value: the figure.
        unit: its unit.
        peer: the figure beside it.
        limit: the most it may be; its target is then a ratio of 1.
        target: the most its ratio to the peer may be; None: it is only told.
        **more: further figures.
    """
    line: dict[str, object] = {"benchmark": benchmark, "value": _short(value), "unit": unit}
    beside = limit if peer is None else peer
    if beside is not None:
        line |= {"limit" if peer is None else "peer": _short(beside), "ratio": _short(value / beside)}
        target = 1.0 if peer is None else target
    if beside is not None and target is not None:
        line |= {"target": _short(target), "met": value / beside <= target}
        _MET.append(value / beside <= target)
        _MISSED.extend([] if _MET[-1] else [benchmark])
    print(json.dumps(line | more), flush=True)


def repeat(printed: str) -> None:
    """Print the figures that a process of its own has told, and remember their targets."""
    for told in map(json.loads, filter(lambda text: text.startswith("{"), printed.splitlines())):
        if "met" in told:
            _MET.append(told["met"])
            _MISSED.extend([] if told["met"] else [told["benchmark"]])
        print(json.dumps(told), flush=True)


def skip(benchmark: str, why: str) -> None:
    """Say that something could not be measured here."""
    print(json.dumps({"benchmark": benchmark, "skipped": why}), flush=True)


def summary() -> None:
    """Print how many of the targets told so far were met, and which were not."""
    line = {"benchmark": "all", "targets": len(_MET), "targets_met": sum(_MET), "missed": _MISSED}
    print(json.dumps(line), flush=True)


def _short(value: float) -> float:
    """Return four significant digits."""
    return float(f"{value:.4g}")
