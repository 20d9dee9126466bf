"""How far back gradients reach in every network of the package, before training and after some steps.

    python recipes/horizons_of_all.py
    python recipes/horizons_of_all.py --max-steps 100

Networks of two layers of the same width read the source of Python's standard library. `horizons.md` is the table of
`docs/chapters/after-the-lstm.md`, the distance at which the norm of the gradient falls below a hundredth of that at the
position itself; means of three seeds before training, one seed after it.
"""

from pathlib import Path

from lightning import seed_everything

from seqmodels.cli import command
from seqmodels import LanguageModel, TextDataModule, fit, load
from seqmodels.analysis.gradient_horizon import gradient_horizon, gradient_norms
from seqmodels.experiments.abilities import NETWORKS, make_network

TARGETS, SEEDS = 8, 3


def main(
    data: str = "python", networks: str = "", size: int = 64, length: int = 256, max_steps: int = 0,
    runs: str = "runs/horizons_of_all",
) -> None:  # fmt: skip
    """Measure the gradient horizon of each network.

    Args:
        data: "python" for the standard library, a text file or directory, or a hub name.
        networks: names, separated by commas; all if empty.
        size: features of each layer.
        length: characters of a row, the longest distance.
        max_steps: training steps of each network; 0 to measure new ones alone.
        runs: the folder of the table, and of the runs.
    """
    text = TextDataModule(data, length=length, batch_size=8)
    text.setup("fit")
    batch = text.scored_batches("validation")[0, 0]
    rows = ["| Network | new |" + " trained |" * bool(max_steps), "|---" * (2 + bool(max_steps)) + "|"]
    for name in networks.split(",") if networks else NETWORKS:
        reached = []
        for seed in range(1, SEEDS + 1):
            seed_everything(seed, verbose=False)
            model = LanguageModel(make_network(name, size, 2, 4), text.tokenizer, lr=3e-3)
            reached.append(gradient_horizon(gradient_norms(model, batch, passes=TARGETS)["x"]))
        rows.append(f"| `{name}` | {sum(reached) / SEEDS:.0f} |")
        if max_steps:
            run = fit(model, text, max_steps=max_steps, validations=1, prompt="def ", runs=runs)
            rows[-1] += f" {gradient_horizon(gradient_norms(load(run), batch, passes=TARGETS)['x'])} |"
        print(rows[-1])
    Path(runs).mkdir(parents=True, exist_ok=True)
    (Path(runs) / "horizons.md").write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command(main)
