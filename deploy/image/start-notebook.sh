#!/bin/bash
# Start JupyterLab as a workbench of OpenShift AI: on NOTEBOOK_ARGS, with what the platform has mounted for Elyra.
set -eu

root="${APP_ROOT:-/opt/app-root}"
metadata="$(jupyter --data-dir)/metadata"

# The pipeline server of the namespace, with the keys of its bucket; and the images for generic nodes.
umask 077
for pair in runtimes:runtimes pipeline-runtimes:runtime-images; do
    for file in "$root/${pair%%:*}"/*.json; do
        if [ -f "$file" ]; then
            mkdir -p "$metadata/${pair##*:}"
            cp -L "$file" "$metadata/${pair##*:}/"
        fi
    done
done
umask 002

# Words, as the platform writes them. The proxy before this server asks who comes; the host that it is called by varies.
# shellcheck disable=SC2086
exec jupyter lab ${NOTEBOOK_ARGS:-} \
    --ServerApp.ip="" --ServerApp.allow_origin="*" --ServerApp.open_browser=False --ServerApp.root_dir="$HOME"
