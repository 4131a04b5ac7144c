"""What the planner and the simulators know of the runtime's word of progress is what its C says."""

import re

from freeml.power.rig import CURSOR
from freeml.regions.cutting import CURSOR_LIMIT
from freeml.regions.wear import RECORDS
from freeml.resources import resource_dir
from freeml.sim.board import PROGRESS_RESULT, PROGRESS_VALID

COMMON = resource_dir("firmware") / "common"


def defined(file, name):
    (value,) = re.findall(rf"^#define {name} (\w+?)U$", (COMMON / file).read_text(), re.MULTILINE)
    return int(value, 0)


def test_bits_of_the_word_of_progress():
    assert defined("fm_run.h", "FM_PROGRESS_RESULT") == PROGRESS_RESULT
    assert defined("fm_run.h", "FM_PROGRESS_VALID") == PROGRESS_VALID
    assert defined("fm_run.h", "FM_PROGRESS_CURSOR") == CURSOR == CURSOR_LIMIT + 1


def test_records_go_around_as_often_as_is_reported():
    assert defined("fm_progress.c", "RECORDS") == RECORDS
