#!/bin/bash
# Start JupyterLab as a workbench of OpenShift AI: on NOTEBOOK_ARGS, with what the platform has mounted for Elyra.
set -eu

root="${APP_ROOT:-/opt/app-root}"
metadata="$(jupyter --data-dir)/metadata"

copy() (
    umask 077
    for file in "$root/$1"/*.json; do
        if [ -f "$file" ]; then
            mkdir -p "$metadata/$2"
            cp -L "$file" "$metadata/$2/"
        fi
    done
)
# The pipeline server of the namespace, with the keys of its bucket; and the images for generic nodes.
copy runtimes runtimes
copy pipeline-runtimes runtime-images

# Words, as the platform writes them. The proxy before this server asks who comes; the host that it is called by varies.
# shellcheck disable=SC2086
exec jupyter lab ${NOTEBOOK_ARGS:-} \
    --ServerApp.ip="" --ServerApp.allow_origin="*" --ServerApp.open_browser=False --ServerApp.root_dir="$HOME"
