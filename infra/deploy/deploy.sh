#!/usr/bin/env bash
# Deploys an environment: deploy.sh dev|prod [weir.zip]
#   build -> check -> package -> Terraform -> keys -> One Deploy -> health -> smoke test; the previous package if that fails
#   YES=1           asks nothing (CI)
#   WAIT_S=300      how long the app may take until it answers, and until the test blob is in its table
# Without a zip it is built (package.sh). Everything that is missing is said before that.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
environment=${1:?"usage: deploy.sh dev|prod [weir.zip]"}
package=${2:-}
wait_s=${WAIT_S:-300}
need_azure
need_environment
[ -z "$package" ] || [ -f "$package" ] || missing "$package is not there: make package"
stop_if_anything_is_missing
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -z "$package" ]; then
  package=$work/weir.zip
  bash "$repository/infra/deploy/package.sh" "$package"
fi

say "Terraform"
terraform_in init -input=false -backend-config=backend.hcl >"$work/init.log" || { cat "$work/init.log" >&2; die "terraform init failed"; }
# What the contracts in the package need. Of a package from elsewhere the file may be missing: the shipped contracts' then.
needs=()
[ ! -f "$package.tfvars.json" ] || needs=(-var-file="$(realpath "$package.tfvars.json")")
terraform_in plan -input=false "${needs[@]}" -out="$work/plan"
[ "$environment" = dev ] || confirm "This changes $environment." "$environment"
terraform_in apply -input=false "$work/plan"
group=$(output_of resource_group_name)
app=$(output_of function_app_name)
vault=$(output_of key_vault_name)
lake=$(output_of lake_account_name)
packages=$(output_of package_account_name)

# Never replaced: without its key a pseudonym in the lake can never be matched again.
for key in pseudonym-key task-key; do
  az keyvault secret show --vault-name "$vault" --name "$key" --output none 2>/dev/null && continue
  say "make $key"
  openssl rand -base64 32 >"$work/key"
  az keyvault secret set --vault-name "$vault" --name "$key" --file "$work/key" --encoding utf-8 --output none ||
    die "you may not write secrets of $vault. Grant yourself \"Key Vault Secrets Officer\": az role assignment create --role 'Key Vault Secrets Officer' --assignee \$(az ad signed-in-user show --query id -o tsv) --scope \$(az keyvault show --name $vault --query id -o tsv)"
  rm -f "$work/key"
done

previous=''
if az storage blob download --auth-mode login --account-name "$packages" --container-name packages --name released-package.zip --file "$work/previous.zip" --output none 2>/dev/null; then
  previous=$work/previous.zip
fi

release() { # zip
  az functionapp deployment source config-zip --resource-group "$group" --name "$app" --src "$1" --output none
}

status() {
  local host key
  host=$(az functionapp show --resource-group "$group" --name "$app" --query properties.defaultHostName --output tsv)
  key=$(az functionapp keys list --resource-group "$group" --name "$app" --query functionKeys.default --output tsv)
  # The key is no argument: arguments are seen by everybody on the machine.
  curl --silent --show-error --fail --max-time 30 --config - "https://$host/api/status" <<<"header = \"x-functions-key: $key\""
}

# Prints "true" or "false", whether the books balance, and the records of `sales` that are committed. Fails without an answer.
books() {
  status >"$work/status.json" 2>"$work/status.err" && python3 - "$work/status.json" 2>>"$work/status.err" <<'PY'
import json, sys

status = json.load(open(sys.argv[1]))
sales = [dataset for dataset in status["datasets"] if dataset["name"] == "sales"]
committed = sum(((dataset.get("table") or {}).get("books") or {}).get("committed", 0) for dataset in sales)
print(str(status["balanced"]).lower(), committed)
PY
}

# Until the app answers, with more committed records of `sales` than these and balanced books where a number is given.
until_status() { # what is waited for, records that were committed before
  local end=$((SECONDS + wait_s)) answer
  while [ "$SECONDS" -lt "$end" ]; do
    if answer=$(books); then
      read -r balanced committed <<<"$answer"
      [ -n "${2:-}" ] || return 0
      if [ "$balanced" = true ] && [ "$committed" -gt "$2" ]; then return 0; fi
    fi
    sleep "${PAUSE_S:-5}"
  done
  printf 'not within %s s: %s\n' "$wait_s" "$1" >&2
  cat "$work/status.err" >&2
  return 1
}

# One blob, which must be in its table, with balanced books.
smoke() {
  until_status "the app answers" || return 1
  local name
  name=sales/smoke-$(date -u +%Y%m%dT%H%M%SZ)-$RANDOM.csv
  az storage blob upload --auth-mode login --account-name "$lake" --container-name landing --name "$name" --file "$repository/infra/deploy/smoke.csv" --output none || return 1
  until_status "landing/$name is in its table, and the books balance" "$committed"
}

say "deploy $(sha256sum "$package" | cut -d' ' -f1)"
failed=''
release "$package" || failed="the package was not taken"
[ -n "$failed" ] || smoke || failed="the smoke test failed"
if [ -z "$failed" ]; then
  say "$app is deployed, answers, and took a blob into its table"
  exit 0
fi
if [ -z "$previous" ]; then
  die "$failed, and there is no previous package to go back to"
fi
say "$failed: back to the previous package"
release "$previous" || die "$failed, and the previous package was not taken either: nothing that works may be running"
until_status "the previous package answers" || die "$failed, and the previous package does not answer"
die "$failed; the previous package runs again"
