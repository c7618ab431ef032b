#!/usr/bin/env bash
# Everything that needs a GPU, in under ten minutes: build, tests, sanitizers, benchmarks.
# Run it in a checkout on a machine with a GPU, nvcc and a CUDA build of torch; PYTHON names the
# interpreter. Without nvcc it uses the gtnet/_cuda.abi3.so that is there. OUT collects the logs.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUT=${OUT:-build/gpu}
mkdir -p "$OUT"
export OMP_NUM_THREADS=4
failed=0

step() {
    local name=$1 limit=$2
    shift 2
    printf '\n== %s (%d s)\n' "$name" "$SECONDS"
    timeout "$limit" "$@" 2>&1 | tee "$OUT/$name.log" | tail -n 15
    if [ "${PIPESTATUS[0]}" -ne 0 ]; then failed=1 && echo "FAILED: $name"; fi
}

{
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
    git log -1 --format='commit %h' 2> /dev/null
    $PYTHON -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)'
    date -u +%F
} | tee "$OUT/machine.log"

if command -v nvcc > /dev/null || [ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]; then
    GTNET_CUDA=1 GTNET_EMULATED=0 step build 150 "$PYTHON" setup.py -q build_ext --inplace
fi
step loaded 30 "$PYTHON" -c 'from gtnet import _ops; assert _ops.HAS_CUDA'

step tests 150 "$PYTHON" -m pytest -q --device cuda tests/test_cuda_*.py
step benchmarks 100 "$PYTHON" -m benchmarks.gpu

SANITIZER=${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer
[ -x "$SANITIZER" ] || SANITIZER=$(command -v compute-sanitizer || true)
if [ -n "$SANITIZER" ]; then
    export PYTORCH_NO_CUDA_MEMORY_CACHING=1 # so that memcheck sees each tensor's bounds
    for tool in memcheck racecheck initcheck; do
        step "$tool" 55 "$SANITIZER" --tool "$tool" --error-exitcode 9 "$PYTHON" -m pytest -q -x \
            --device cuda tests/test_cuda_{beams,chains,cuts}.py \
            -k 'long_rows or short_floats_are or lengths or many_segments or more_arcs'
    done
else
    echo "there is no compute-sanitizer on this machine: kernels were not checked by it"
fi

printf '\n== done (%d s), logs in %s\n' "$SECONDS" "$OUT"
exit "$failed"
