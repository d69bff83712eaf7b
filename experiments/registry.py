"""The experiments by name. A new one is a folder with an analyse.py and a README.md, and a line here."""

from experiments.derandomised.analyse import DERANDOMISED_EXPERIMENT
from experiments.experiment import Experiment
from experiments.fig1.analyse import FIG1
from experiments.fig2.analyse import FIG2
from experiments.fig3.analyse import FIG3
from experiments.ladder.analyse import LADDER_EXPERIMENT
from experiments.methods.analyse import METHODS_EXPERIMENT
from experiments.pilot.analyse import PILOT
from experiments.precision.analyse import PRECISION
from experiments.table1.analyse import TABLE1
from experiments.table2.analyse import TABLE2
from experiments.table3.analyse import TABLE3_EXPERIMENT
from experiments.table4.analyse import TABLE4
from experiments.table5.analyse import TABLE5

EXPERIMENTS: dict[str, Experiment] = {
    one.name: one
    for one in (
        FIG1,
        FIG2,
        PILOT,
        TABLE1,
        LADDER_EXPERIMENT,
        FIG3,
        TABLE2,
        TABLE3_EXPERIMENT,
        TABLE4,
        TABLE5,
        DERANDOMISED_EXPERIMENT,
        PRECISION,
        METHODS_EXPERIMENT,
    )
}
