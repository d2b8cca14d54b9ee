"""Settings that make no sense: one line with the key, the problem and an example, and no secret."""

import re
from pathlib import Path

import pytest

import setting_values
from errors import SettingsError
from settings import load
from tests.settings_file import empty_environment, env, message

__all__ = ["empty_environment", "env"]  # fixtures


@pytest.mark.parametrize("missing", ["PSQL_HOST", "PSQL_DBNAME", "PSQL_USER", "PSQL_PWD"])
def test_a_postgresql_named_by_half_stops_the_start_and_names_the_missing_key(env, missing):
    given = {"PSQL_HOST": "db", "PSQL_DBNAME": "tksva", "PSQL_USER": "queue", "PSQL_PWD": "hunter2"}
    del given[missing]
    text = message(env, "\n".join(f"{key}={value}" for key, value in given.items()))
    assert text.startswith(f"{missing}: не задан")
    assert f"пример: {missing}=" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "line",
    [
        "POLL_SECONDS=0",
        "POLL_SECONDS=-1",
        "POLL_SECONDS=nan",
        "POLL_SECONDS=soon",
        "CHUNK_SIZE=0",
        "CHUNK_SIZE=10000001",
        "CHUNK_SIZE=5e4",
        "CHUNK_SIZE=99999999999999999999999",
        "WORKERS=0",
        "WORKERS=many",
        "MAX_ATTEMPTS=0",
        "HEARTBEAT_SECONDS=0",
        "JOB_TIMEOUT=0",
        "JOB_TIMEOUT=6 weeks",
        "HOW_MANY_HOURS_TO_STORE=-72",
        "HOW_MANY_HOURS_TO_STORE=a while",
        f"HOW_MANY_HOURS_TO_STORE={'9' * 400}",
        "DOWNLOAD_GRACE_SECONDS=-1",
        "WEB_PORT=0",
        "WEB_PORT=65536",
        "WEB_HOST=http://127.0.0.1",
        "PSQL_PORT=abc",
        "LOG_LEVEL=LOUD",
        "LOG_JSON=maybe",
        "CSV_DELIMITER=;;",
        "CSV_DELIMITER='\"'",
        'CSV_DELIMITER="\\n"',
        "CSV_DELIMITER=я",
        "CSV_DELIMITER=0",
        "CSV_BOM=2",
        "INTEGRATIONS=../evil",
        "BROKER_URL=http://localhost",
        "DWH_URL=warehouse",
        "FILES_GROUP=no-such-group-here",
        "FILES_URL=tksva/files",
        "FILES_URL=gs://tksva/files",
        "FILES_URL=S3://tksva/files",
        "FILES_URL=s3://",
        "FILES_URL=s3:///files",
        "FILES_URL=s3://бакет",
        "FILES_URL=s3://key:hunter2@tksva/files",
        "FILES_URL=s3://tksva/a//b",
        "FILES_URL=s3://tksva/../b",
        "FILES_URL=s3://tksva/a?b",
        f"FILES_URL=s3://tksva/{'ю' * 351}",
    ],
)
def test_a_value_that_makes_no_sense_is_one_line_with_key_problem_and_example(env, line):
    text = message(env, line)
    key = line.partition("=")[0]
    assert text.startswith(f"{key}: ")
    assert re.search(rf"; пример: {key}=.+$", text)
    assert len(text) < 250


@pytest.mark.parametrize(
    "line",
    [
        "PSQL_PWD=hunter2\nPSQL_HOST=postgresql://u:hunter2@h/d",
        "PSQL_PWD=hunter2\nPSQL_PORT=x",
        "DWH_URL=u:hunter2@h",
        "BROKER_URL=hunter2",
        "BROKER_URL=mysql://u:hunter2@h",
        "API_TOKEN=hunter2\nWORKERS=x",
        "CLICK_PWD=hunter2\nCLICK_HOST=u:hunter2@h",
        "PSQL_PWD=hunter2",
        "FILES_URL=s3://key:hunter2@bucket",
        "FILES_URL=s3://hunter2@bucket",
        "FILES_URL=s3://bucket\nAWS_SECRET_ACCESS_KEY=hunter2",
    ],
)
def test_no_error_shows_a_secret(env, line):
    with pytest.raises(SettingsError) as caught:
        env(line)
    shown = [caught.value, caught.value.__cause__]
    assert caught.value.__suppress_context__
    assert "hunter2" not in "".join(map(repr, shown))


def test_a_bucket_needs_what_reaches_it(env, monkeypatch):
    monkeypatch.setattr(setting_values, "find_spec", lambda module: None if module == "s3fs" else module)
    assert "не установлен s3fs: pip install -r requirements-s3.txt; пример:" in message(env, "FILES_URL=s3://tksva")
    assert env("FILES_URL=").files_url is None


def test_half_a_key_stops_the_start_and_names_the_other_half(env):
    assert message(env, "FILES_URL=s3://tksva\nAWS_ACCESS_KEY_ID=k").startswith("AWS_SECRET_ACCESS_KEY: не задан")
    assert message(env, "FILES_URL=s3://tksva\nAWS_SECRET_ACCESS_KEY=s").startswith("AWS_ACCESS_KEY_ID: не задан")
    assert message(env, "FILES_URL=s3://tksva\nAWS_ENDPOINT_URL=minio:9000").startswith("AWS_ENDPOINT_URL: не URL")


def test_a_value_of_two_lines_is_still_one_line_of_error(env):
    assert "\n" not in message(env, 'WORKERS="1\n2"')


def test_an_env_file_in_another_encoding_is_named(tmp_path):
    (tmp_path / ".env").write_bytes("# пароль\nWORKERS=2\n".encode("cp1251"))
    with pytest.raises(SettingsError, match=r"\.env: файл не в UTF-8"):
        load()


def test_an_env_file_that_cannot_be_read_is_named():
    # A file whose first byte is an I/O error, for root too, whom no file mode keeps out.
    with pytest.raises(SettingsError, match=r"^/proc/self/mem: не читается \(.+\); пример: \.envexample$"):
        load(Path("/proc/self/mem"))
