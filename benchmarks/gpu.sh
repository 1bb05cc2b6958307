#!/usr/bin/env bash
# Measure a GPU in ten minutes, installation included, and print a table: benchmarks/gpu.sh --cifar cifar10.tar.gz
#
#   --wheels DIR    install these wheels, without a network, beside the packages of PYTHON (python3); `gpu_wheels.py` gets them
#   --installed     install nothing: PYTHON has everything
#   --airbench DIR, --timm DIR   clones of KellerJordan/cifar10-airbench and pytorch-image-models; without: cloned if there is a network
#   all else        is for gpu.py: --cifar ARCHIVE, --steps, --out DIR, --tiny --device cpu --slower 5 to try it without a GPU
set -uo pipefail
cd "$(dirname "$0")/.."
begun=$(date +%s)
python=${PYTHON:-python3}
wheels='' installed='' airbench='' timm='' rest=()
while [ $# -gt 0 ]; do
	case $1 in
	--wheels) wheels=$2 && shift ;;
	--installed) installed=1 ;;
	--airbench) airbench=$2 && shift ;;
	--timm) timm=$2 && shift ;;
	*) rest+=("$1") ;;
	esac
	shift
done
own=$(mktemp -d)
trap 'rm -rf "$own"' EXIT
echo "installing" >&2
if [ -n "$wheels" ]; then
	timeout 90 "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$own/site" "$wheels"/*.whl >&2 ||
		echo "the installation failed; what is there is used" >&2
	export PYTHONPATH="$own/site${PYTHONPATH:+:$PYTHONPATH}"
elif [ -z "$installed" ]; then
	timeout 300 make setup-dev PYTHON="$python" >&2 || echo "the installation failed; what is there is used" >&2
	[ -x .venv/bin/python ] && python=$PWD/.venv/bin/python
fi
# Scripts of others are not part of this repository.
fetch() { timeout 40 git clone -q --depth 1 "https://github.com/$1" "$2" >&2 || echo "$1: cannot be cloned" >&2; }
[ -n "$airbench" ] || { airbench=$own/airbench && fetch KellerJordan/cifar10-airbench "$airbench"; }
[ -n "$timm" ] || { timm=$own/timm && fetch huggingface/pytorch-image-models "$timm"; }
[ ! -d "$airbench" ] || rest+=(--airbench "$airbench")
[ ! -d "$timm" ] || rest+=(--timm "$timm")
"$python" benchmarks/gpu.py --begun "$begun" ${rest[@]+"${rest[@]}"}
