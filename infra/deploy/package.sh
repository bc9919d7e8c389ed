#!/usr/bin/env bash
# Builds the zip that is deployed: package.sh [weir.zip]
#   DATASETS=folder   contracts to put into it (default: ./datasets where there is one, else those that Weir ships)
#   HANDLER=binary    a binary that is built already
# Beside it weir.zip.tfvars.json: what the contracts need of the infrastructure.
# The same sources and the same tools give the same bytes: files are sorted, their times fixed, the builder's paths left out.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
zip=$(realpath -m "${1:-weir.zip}")
# The oldest glibc among the images that Azure Functions runs on (Debian 11).
newest_glibc=2.31

need cargo "https://rustup.rs"
need python3 "install Python 3"
need objdump "install binutils"
stop_if_anything_is_missing
[ -n "${DATASETS:-}" ] || { [ -d datasets ] && DATASETS=$PWD/datasets; } || DATASETS=$repository/shared/datasets
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$repository"

if [ -z "${HANDLER:-}" ]; then
  say "build (profile dist; from nothing it takes an hour on two cores)"
  export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$HOME=/home --remap-path-prefix=$repository=/weir"
  folder=${CARGO_TARGET_DIR:-target}
  if cargo zigbuild --version >/dev/null 2>&1; then
    cargo zigbuild --locked --profile dist --workspace --bin weir --target x86_64-unknown-linux-gnu.2.28
    HANDLER=$folder/x86_64-unknown-linux-gnu/dist/weir
  else
    cargo build --locked --profile dist --workspace --bin weir
    HANDLER=$folder/dist/weir
  fi
fi
glibc=$(objdump -T "$HANDLER" | grep -v ' w ' | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -1 || true)
if [ -n "$glibc" ] && [ "$(printf '%s\n' "$glibc" "$newest_glibc" | sort -V | tail -1)" != "$newest_glibc" ]; then
  die "$HANDLER needs glibc $glibc, Azure Functions may have $newest_glibc: install cargo-zigbuild and ziglang (cargo install cargo-zigbuild; pip install ziglang), and build again"
fi

say "check the contracts in $DATASETS"
"$HANDLER" check "$DATASETS"
say "package"
"$HANDLER" package "$work/app" --datasets "$DATASETS" --handler "$HANDLER" --terraform "$zip.tfvars.json"
[ -x "$work/app/handler" ] || die "the handler lost its execute bit"
# No zip program: each writes times, owners and orders of its own.
python3 - "$work/app" "$zip" <<'PY'
import os, pathlib, sys, zipfile

root = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(sys.argv[2], "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), (1980, 1, 1, 0, 0, 0))
        entry.create_system, entry.compress_type = 3, zipfile.ZIP_DEFLATED
        entry.external_attr = (0o100755 if os.access(path, os.X_OK) else 0o100644) << 16
        archive.writestr(entry, path.read_bytes(), compresslevel=9)
PY
say "$zip: $(du -m "$zip" | cut -f1) MB packed, $(du -sm "$work/app" | cut -f1) MB unpacked, sha256 $(sha256sum "$zip" | cut -d' ' -f1)"
