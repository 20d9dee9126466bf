"""The section of the recurrent matrices."""

from torch import Tensor

from seqmodels.analysis.spectra import Spectrum, draw_radii, draw_spectra, read_radii, recurrent_maps, spectrum
from seqmodels.errors import InputError
from seqmodels.report.figures import inline
from seqmodels.report.names import in_words
from seqmodels.report.section import Section, note, table
from seqmodels.report.subject import Subject

WORK = 16 * 512**3
"""Most multiplications, about, that are spent on eigenvalues, whose number grows with the cube of the size."""
PANELS = 12
"""Most maps that are drawn."""
LEAD = (
    "The eigenvalues of the matrices by which the state is multiplied at every step, as points of the complex "
    "plane. What lies inside the dotted unit circle shrinks from step to step, what lies outside grows; the "
    "spectral radius is the distance of the farthest. With gates and nonlinearities between them, the matrices are "
    "one part of the story."
)


def spectra(subject: Subject) -> Section:
    """Eigenvalues of the trained recurrent maps, and their spectral radii while it learned.

    Raises:
        InputError: the network has no such maps.
    """
    task = subject.task
    maps = recurrent_maps(task)
    if not maps:
        raise InputError(f"{task.name} has no recurrent matrix that a state is multiplied by")
    found = _some(maps)
    radii = "; ".join(f"{in_words(name)} {of_map.radius:.3g}" for name, of_map in found.items())
    label = f"Eigenvalues of {len(found)} recurrent maps in the complex plane; spectral radii: {radii}"
    body = inline(draw_spectra(found), label, "spectra-now")
    rows = [[f"{name}, {in_words(name)}", f"{one.radius:.3f}", f"{one.norm:.3f}"] for name, one in found.items()]
    body += table(("map", "spectral radius", "spectral norm"), rows, numeric=True)
    if len(found) < len(maps):
        body += note(f"{len(found)} of {len(maps)} maps, since eigenvalues of large ones take long.")
    if (path := subject.folder / "spectra.csv").exists():
        over = read_radii(path)
        if any(len(line) > 1 for line in over.values()):
            named = {in_words(name): line for name, line in over.items()}
            label = f"Spectral radii of {len(over)} maps over the steps of the training"
            body += f"<h3>While it learned</h3>{inline(draw_radii(named), label, 'spectra-then')}"
    return Section("spectra", "Spectra", LEAD, body)


def _some(maps: dict[str, Tensor]) -> dict[str, Spectrum]:
    """The spectra of as many maps as there is time for, at least one."""
    found, spent = dict[str, Spectrum](), 0
    for name, matrix in maps.items():
        spent += len(matrix) ** 3
        if found and (spent > WORK or len(found) == PANELS):
            break
        found[name] = spectrum(matrix)
    return found
