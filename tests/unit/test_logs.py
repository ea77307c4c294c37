import logging

import pytest

from cloudnet import logs
from cloudnet.errors import BadInput


@pytest.fixture
def line():
    def written(message, *args, exc_info=None):
        record = logging.LogRecord("cloudnet.agent.loop", logging.INFO, __file__, 1, message, args, exc_info)
        record.created, record.msecs = 1_700_000_000.25, 250.0
        return logs.KeyValue().format(record)

    return written


@pytest.fixture
def root_logging():
    loggers = [logging.getLogger("cloudnet"), logging.getLogger()]
    before = [(one.handlers[:], one.level, one.propagate) for one in loggers]
    yield
    for one, (handlers, level, propagate) in zip(loggers, before, strict=True):
        one.handlers[:], one.propagate = handlers, propagate
        one.setLevel(level)


def test_a_line_has_time_level_logger_words_and_fields(line):
    text = line("path changed block=%s reason=%s", "10.65.1.0/26", "proven")

    assert text == (
        "time=2023-11-14T22:13:20.250Z level=info logger=agent.loop"
        ' msg="path changed" block=10.65.1.0/26 reason=proven'
    )


def test_one_word_needs_no_quotes(line):
    assert line("started").endswith("msg=started")


def test_fields_alone_need_no_words(line):
    assert line("leading=%s", "yes").endswith(" logger=agent.loop leading=yes")


def test_a_quoted_field_stays_whole(line):
    assert line("refused detail=%r table=rtb-1", "no right here").endswith(
        "msg=refused detail='no right here' table=rtb-1"
    )


def test_an_equals_sign_in_the_middle_of_the_words_makes_no_field(line):
    assert line("a=b is not a field here").endswith('msg="a=b is not a field here"')


def test_a_line_break_cannot_forge_a_line(line):
    text = line("bad node name=%s", "n1\ntime=now level=error msg=forged")

    assert "\n" not in text


def test_a_defect_shows_its_traceback(line):
    try:
        int("broken")
    except ValueError as e:
        text = line("step failed", exc_info=(type(e), e, e.__traceback__))

    assert text.splitlines()[-1] == "ValueError: invalid literal for int() with base 10: 'broken'"


def test_setup_prints_from_the_level_up_and_only_warnings_of_libraries(root_logging, capsys):
    logs.setup("info")
    logs.setup("info")
    logging.getLogger("cloudnet.x").info("seen")
    logging.getLogger("cloudnet.x").debug("hidden")
    logging.getLogger("botocore").info("chatter")
    logging.getLogger("botocore").warning("trouble")

    printed = capsys.readouterr().err.splitlines()
    assert [part.rpartition("msg=")[2] for part in printed] == ["seen", "trouble"]


def test_an_unknown_level_is_refused(root_logging):
    with pytest.raises(BadInput, match="log_level: expected one of debug, info, warning, error, found 'loud'"):
        logs.setup("loud")
