#!/usr/bin/env bash
# Runs fuzz targets: see README.md. `fuzz/run.sh [target…] [--minutes n] [--build] [--jobs n]`
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
hostile=(parquet avro json csv body tasks sql)
exact=(envelope blob_event contract splitter parts avro_ranges body_records)
minutes=60 jobs=1 only_build='' targets=()

usage() {
  cat <<END
usage: fuzz/run.sh [target…] [--minutes n] [--jobs n] [--build]
  --minutes n  how long each target runs (60)
  --jobs n     processes of a target at a time (1)
  --build      build, and run nothing
targets of hostile input: ${hostile[*]}
other targets: ${exact[*]}
END
}

while [ $# -gt 0 ]; do
  case $1 in
    --minutes) minutes=$2; shift ;;
    --jobs) jobs=$2; shift ;;
    --build) only_build=yes ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; exit 2 ;;
    *) targets+=("$1") ;;
  esac
  shift
done
[ ${#targets[@]} -gt 0 ] || targets=("${hostile[@]}" "${exact[@]}")
for target in "${targets[@]}"; do
  case " ${hostile[*]} ${exact[*]} " in *" $target "*) ;; *) echo "no target $target" >&2; usage >&2; exit 2 ;; esac
done
# Those of hostile input are one binary.
binary_of() { case " ${hostile[*]} " in *" $1 "*) echo hostile ;; *) echo "$1" ;; esac; }

# The workspace's target folder: what both are made of is built once.
folder=${CARGO_TARGET_DIR:-$here/../target}
found=${WEIR_FUZZ_FOLDER:-$folder/fuzzing}
# The newest versions of all that is below need not fit each other.
cp "$here/../Cargo.lock" "$here/Cargo.lock"
(cd "$here" && RUSTC_WRAPPER=$here/instrument CARGO_TARGET_DIR=$folder cargo build --release --bins)
mkdir -p "$found/bin"
for target in "${targets[@]}"; do
  binary=$folder/release/$(binary_of "$target")
  cp -lf "$binary" "$found/bin/$target" 2>/dev/null || cp -f "$binary" "$found/bin/$target"
done
[ -z "$only_build" ] || exit 0

failed=0
for target in "${targets[@]}"; do
  mkdir -p "$found/corpus/$target" "$found/artifacts/$target" "$here/corpus/$target"
  log=$found/$target.log
  echo "$(date +%H:%M:%S) $target: $minutes minutes, log $log"
  options=(-max_total_time=$((minutes * 60)) -max_len=1048576 -timeout=900 -rss_limit_mb=2048 -print_final_stats=1)
  options+=("-artifact_prefix=$found/artifacts/$target/")
  [ "$jobs" = 1 ] || options+=("-fork=$jobs")
  code=0
  # New inputs go to the first folder; those in the tree are read.
  (cd "$found" && WEIR_FUZZ_TARGET=$target "bin/$target" "${options[@]}" "corpus/$target" "$here/corpus/$target") >"$log" 2>&1 || code=$?
  inputs=$(grep -ao 'stat::number_of_executed_units: *[0-9]*' "$log" | tail -1 | tr -dc 0-9 || true)
  worst=$(grep -ao 'worst so far: .*' "$log" | tail -1 || true)
  echo "$(date +%H:%M:%S) $target: ${inputs:-?} inputs; ${worst:-no measure}"
  if [ "$code" != 0 ]; then
    failed=1
    grep -aE '^(FOUND|thread|SUMMARY|==[0-9]+== ERROR)' "$log" | head -5 || true
    input=$(grep -ao "Test unit written to .*" "$log" | tail -1 | sed 's/Test unit written to //' || true)
    echo "$target FAILED (status $code): ${input:-see $log}"
    echo "again: (cd $found && WEIR_FUZZ_TARGET=$target bin/$target ${input:-<input>})"
  fi
done
exit $failed
