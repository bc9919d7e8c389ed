#!/bin/bash
# Stands for az, terraform, curl, zip, cargo and weir: notes how it was called, and answers as $SCENE says.
# Packages are known by their content; what is "running" is the file that was released last.
name=$(basename "$0")
printf '%s %s\n' "$name" "$*" >>"$CALLS"
is() { [[ " $SCENE " == *" $1 "* ]]; }
argument() { # the value behind a flag
  local flag=$1 last=''
  shift
  for value in "$@"; do
    [ "$last" = "$flag" ] && { printf '%s' "$value"; return; }
    last=$value
  done
}
case "$name $*" in
  "az account show --output none") is signed-out && exit 1 ;;
  "az account show --query id"*) echo 00000000-0000-4000-8000-000000000001 ;;
  "az account show --query tenantId"*) echo tenant ;;
  "az account show"*) echo "A subscription" ;;
  "az storage account show"*"--query id"*) echo /state-account ;;
  "az storage account show"*) is no-state-account && exit 1 ;;
  "az keyvault secret show"*) is no-keys && exit 1 ;;
  "az keyvault secret set"*) is no-right-to-secrets && exit 1 ; cat "$(argument --file "$@")" >>"$HERE/secrets" ;;
  "az storage blob download"*) [ -f "$HERE/released" ] || exit 1; cp "$HERE/released" "$(argument --file "$@")" ;;
  "az functionapp deployment source config-zip"*)
    zip=$(argument --src "$@")
    if is package-refused && grep -q new "$zip"; then exit 1; fi
    cp "$zip" "$HERE/released" ;;
  "az functionapp show"*) echo func.example.net ;;
  "az functionapp keys list"*) echo the-function-key ;;
  "az storage blob upload"*) is no-right-to-landing && exit 1; touch "$HERE/uploaded" ;;
  "az ad signed-in-user show"*) echo me ;;
  "az identity show"*) echo principal ;;
  "curl "*)
    cat >>"$HERE/curl-config"
    if is app-dead && grep -q new "$HERE/released"; then exit 22; fi
    committed=7
    if [ -f "$HERE/uploaded" ] && ! is blob-lost; then committed=8; fi
    balanced=true
    is books-off && balanced=false
    printf '{"balanced":%s,"datasets":[{"name":"sales","table":{"books":{"committed":%s}}},{"name":"sensors"}]}' "$balanced" "$committed" ;;
  "terraform "*" init "*) is init-fails && { echo "no backend"; exit 1; } ;;
  "terraform "*" plan "*) is plan-fails && exit 1 ;;
  "terraform "*" apply "*) is apply-fails && exit 1 ;;
  "terraform "*" output "*)
    printf '{"resource_group_name":"rg","function_app_name":"func","key_vault_name":"kv","lake_account_name":"lake","package_account_name":"pkg"}' ;;
  "weir check "*) is contract-wrong && { echo "datasets/x.toml:3: unknown key" >&2; exit 1; } ;;
  "weir package "*) echo '{"event_hubs":["github"]}' >"$(argument --terraform "$@")"; mkdir -p "$2" && echo '{}' >"$2/host.json" && cp "$0" "$2/handler" ;;
esac
exit 0
