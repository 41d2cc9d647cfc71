"""The table and the picture of rows: results.json, results.md and curves.png.

    python examples/paper/tables.py results

makes them again, of all rows of that folder.
"""

import argparse
import json
import pathlib
import statistics
import sys

import figures

sys.path.append(str(pathlib.Path(__file__).parents[1] / "does_it_train"))
import report
import rows

# Test error, %: table 1, and table 3 of the appendix.
PAPER = {
    "R": {"FCN": 2.1, "CNN": 1.2, "ST-FCN Aff": 1.2, "ST-FCN Proj": 1.3, "ST-FCN TPS": 1.1}
    | {"ST-CNN Aff": 0.7, "ST-CNN Proj": 0.8, "ST-CNN TPS": 0.7},
    "RTS": {"FCN": 5.2, "CNN": 0.8, "ST-FCN Aff": 0.8, "ST-FCN Proj": 0.9, "ST-FCN TPS": 0.8}
    | {"ST-CNN Aff": 0.5, "ST-CNN Proj": 0.6, "ST-CNN TPS": 0.5},
    "P": {"FCN": 3.1, "CNN": 1.5, "ST-FCN Aff": 1.5, "ST-FCN Proj": 1.4, "ST-FCN TPS": 1.4}
    | {"ST-CNN Aff": 0.8, "ST-CNN Proj": 0.8, "ST-CNN TPS": 0.8},
    "E": {"FCN": 3.2, "CNN": 1.4, "ST-FCN Aff": 2.7, "ST-FCN Proj": 2.6, "ST-FCN TPS": 2.4}
    | {"ST-CNN Aff": 1.2, "ST-CNN Proj": 1.3, "ST-CNN TPS": 1.1},
    "TC": {"FCN": 13.2, "CNN": 3.5, "ST-FCN Aff": 2.0, "ST-CNN Aff": 1.7},
    "sum": {"FCN": 47.7, "CNN": 14.7, "ST-FCN Aff": 22.6, "2xST-FCN Aff": 9.0}
    | {"2xST-FCN Proj": 5.9, "2xST-FCN TPS": 5.8},
}


def summaries(found: list[dict]) -> list[dict]:
    """One for each task, network and budget: mean and spread over seeds, and what the paper has."""
    made = []
    settings = "experiment", "data", "task", "network", "at_most", "batch", "rate", "decay", "budget"
    found = [
        {"at_most": None, **row, "budget": " ".join(f"{n} {unit}" for unit, n in row["budget"].items())}
        for row in found
    ]
    for (*_, budget), alike in rows.groups(found, *settings).items():
        task, network = alike[0]["task"], alike[0]["network"]
        errors = [row["error"] for row in alike]
        made.append(
            {
                "task": task,
                "network": network,
                "budget": budget,
                "weights": alike[0]["weights"],
                "seeds": len(alike),
                "error, %": round(statistics.mean(errors), 2),
                "spread": round(statistics.stdev(errors), 2) if len(errors) > 1 else None,
                "paper": PAPER.get(task, {}).get(network),
                "images": round(statistics.mean(row["images"] for row in alike)),
                "minutes": round(statistics.mean(row["seconds"] for row in alike) / 60, 1),
            }
        )
    return made


def write(found: list[dict], out: pathlib.Path) -> list[pathlib.Path]:
    """Write the three files into the folder `out`; returns their paths."""
    if not found:
        return []
    paths = [out / name for name in ("results.json", "results.md", "curves.png")]
    summed = summaries(found)
    paths[0].write_text(json.dumps(summed, indent=1) + "\n")
    lines = [[*one.values()] for one in summed]
    paths[1].write_text(report.table([*summed[0]], lines) + "\n")
    figures.curves(found, paths[2])
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="of rows.jsonl")
    folder = parser.parse_args().folder
    print("wrote", *write(rows.read(folder / "rows.jsonl"), folder))
