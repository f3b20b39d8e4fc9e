#!/bin/sh
# Becomes one process of Leukoscope: web (prepares the database first), analysis, training, upkeep or beat.
# Anything else is run as it is, for example: python manage.py analyze image.png
set -eu
cd /app

case "${1:-web}" in
web)
    python manage.py prepare
    exec python -m webapp.processes web
    ;;
analysis | training | upkeep | beat)
    exec python -m webapp.processes "$1"
    ;;
*)
    exec "$@"
    ;;
esac
