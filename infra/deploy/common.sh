# What the deployment scripts share. Sourced, not run.
# shellcheck shell=bash
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
problems=()

say() { printf '== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Collects what is missing, so that it is said at once and before anything is built.
missing() { problems+=("$*"); }
stop_if_anything_is_missing() {
  [ ${#problems[@]} -eq 0 ] && return
  printf 'error: before this can go on:\n' >&2
  printf '  - %s\n' "${problems[@]}" >&2
  exit 1
}

need() { # program, how to get it
  command -v "$1" >/dev/null || missing "$1 is not installed: $2"
}

need_azure() {
  need az "https://learn.microsoft.com/cli/azure/install-azure-cli"
  need terraform "1.11 or newer, https://developer.hashicorp.com/terraform/install"
  need curl "install curl"
  need python3 "install Python 3"
  stop_if_anything_is_missing
  az account show --output none 2>/dev/null || missing "you are not signed in: az login"
  stop_if_anything_is_missing
  export ARM_SUBSCRIPTION_ID=${ARM_SUBSCRIPTION_ID:-$(az account show --query id --output tsv)}
  say "subscription $(az account show --query name --output tsv) ($ARM_SUBSCRIPTION_ID)"
}

# $environment -> $root, and what Terraform needs there.
# shellcheck disable=SC2154 # who sources this sets it
need_environment() {
  root=$repository/infra/environments/$environment
  [ -d "$root" ] || die "there is no environment \"$environment\": dev or prod"
  [ -f "$root/terraform.tfvars" ] || missing "$root/terraform.tfvars is missing: make bootstrap ENV=$environment SUFFIX=<3 to 8 letters or digits>"
  if [ -f "$root/backend.hcl" ]; then
    local account
    account=$(sed -n 's/^ *storage_account_name *= *"\(.*\)"/\1/p' "$root/backend.hcl")
    az storage account show --name "$account" --output none 2>/dev/null ||
      missing "the state account \"$account\" of $root/backend.hcl is not there, or you may not see it: make bootstrap ENV=$environment"
  else
    missing "$root/backend.hcl is missing: make bootstrap ENV=$environment"
  fi
}

terraform_in() { terraform -chdir="$root" "$@"; }

# Of the environment, once it is applied.
output_of() { terraform_in output -json weir | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# Asks before what cannot be undone, unless YES=1 says so already.
confirm() { # question, the word to type
  [ "${YES:-}" = 1 ] && return
  [ -t 0 ] || die "$1 Nobody is there to ask: set YES=1"
  local answer
  read -r -p "$1 Type \"$2\" to go on: " answer
  [ "$answer" = "$2" ] || die "not confirmed"
}
