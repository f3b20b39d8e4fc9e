"""Settings of the processes that the fault tests start: the tests' own, with the stand-in for a network."""

from tests.settings import *  # noqa: F403

LEUKOSCOPE_PREDICTOR_LOADER = "tests.stand_in.load_stand_in"
