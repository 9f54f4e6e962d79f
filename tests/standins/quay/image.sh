#!/bin/sh
# image.sh [OUT_DIR]: the container image of the stand-in for Quay; prints its path on its last line.
exec "$(dirname -- "$0")/../image.sh" quay "$@"
