#!/usr/bin/env bash
# What needs a GPU, the most telling first: benchmarks/gpu.sh [--rehearse] [PART...]
#
#   build       the CUDA extension, where nvcc is; otherwise gtnet/_cuda.abi3.so must be there
#   sums        tests of CTC, transducers, chains, acyclic graphs, compose: values, gradients, best paths
#   benchmarks  python -m benchmarks.gpu
#   rest        tests of beams, segmentations, rewrites and every public function
#   memcheck, racecheck, initcheck   compute-sanitizer on some of the tests
#
# Without parts all of them, in this order, in ten minutes; each takes less than four. Run it in a
# checkout on a machine with a GPU and a CUDA build of torch; PYTHON names the interpreter. Logs and
# a report to send are in OUT (build/gpu). --rehearse does the same without a GPU, by emulation, to
# see that the parts run and how long they take.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUT=${OUT:-build/gpu}
report=$OUT/report.md
export OMP_NUM_THREADS=4
failed=0

rehearsed=0
[ "${1-}" = --rehearse ] && rehearsed=1 && shift
parts=("$@")
[ $# -gt 0 ] || parts=(build sums benchmarks rest memcheck racecheck initcheck)
for part in "${parts[@]}"; do
    case $part in
        build | sums | benchmarks | rest | memcheck | racecheck | initcheck) ;;
        *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
device=(--device cuda) small=()
[ $rehearsed = 1 ] && device=() small=(--smoke)

# The end of what it prints goes to the screen and into the report.
step() {
    local name=$1 limit=$2 code began=$SECONDS
    shift 2
    printf '\n== %s\n' "$name"
    timeout "$limit" "$@" > "$OUT/$name.log" 2>&1
    code=$?
    tail -n 25 "$OUT/$name.log"
    [ $code = 0 ] || failed=1
    {
        printf '\n## %s: %s, %d s\n\n```\n' "$name" \
            "$([ $code = 0 ] && echo passed || echo "FAILED ($code)")" $((SECONDS - began))
        tail -n 25 "$OUT/$name.log"
        printf '```\n'
    } >> "$report"
}

files() { printf 'tests/test_cuda_%s.py ' "$@"; }

sanitized() {
    local sanitizer=${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer
    [ -x "$sanitizer" ] || sanitizer=$(command -v compute-sanitizer || true)
    if [ $rehearsed = 1 ] || [ -z "$sanitizer" ]; then
        printf '\n## %s: not run, there is no %s\n' "$1" \
            "$([ $rehearsed = 1 ] && echo GPU || echo compute-sanitizer)" | tee -a "$report"
        return
    fi
    # Without torch's cache memcheck sees each tensor's bounds.
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 step "$1" 55 "$sanitizer" --tool "$1" --error-exitcode 9 \
        "$PYTHON" -m pytest -q -x "${device[@]}" $(files beams chains cuts) \
        -k 'long_rows or short_floats_are or lengths or many_segments or more_arcs'
}

mkdir -p "$OUT"
{
    printf '# gtnet on a GPU%s\n\n```\n' "$([ $rehearsed = 1 ] && echo ' (rehearsed without one)')"
    [ $rehearsed = 1 ] || nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
    git log -1 --format='commit %h' 2> /dev/null
    "$PYTHON" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)'
    date -u +%F
    printf '```\n'
} > "$report"
cat "$report"

for part in "${parts[@]}"; do
    case $part in
        build)
            if [ $rehearsed = 0 ]; then
                if command -v nvcc > /dev/null || [ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]; then
                    GTNET_CUDA=1 GTNET_EMULATED=0 step build 200 "$PYTHON" setup.py -q build_ext --inplace
                fi
                step loaded 30 "$PYTHON" -c 'from gtnet import _ops; assert _ops.HAS_CUDA'
            fi
            ;;
        sums) step sums 150 "$PYTHON" -m pytest -q "${device[@]}" $(files alignments transducers chains paths compose) ;;
        benchmarks) step benchmarks 100 "$PYTHON" -m benchmarks.gpu "${small[@]}" ;;
        rest)
            step rest 200 "$PYTHON" -m pytest -q "${device[@]}" \
                $(files beams cuts device everywhere graphs python rewrites)
            ;;
        *) sanitized "$part" ;;
    esac
done

printf '\n== done (%d s): send %s, or add it to an issue\n' "$SECONDS" "$report"
exit "$failed"
