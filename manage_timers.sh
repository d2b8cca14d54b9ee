#!/bin/sh
# The same words as `manage.py timers`, for those who are used to a script.
cd "$(dirname "$0")" || exit 1
python=.venv/bin/python
test -x "$python" || python=python3
test $# -gt 0 || set -- help
exec env INTEGRATIONS="${INTEGRATIONS:-timers}" "$python" manage.py timers "$@"
