#!/usr/bin/env bash
# Makes what has to be there before Terraform: bootstrap.sh dev|prod SUFFIX [owner/repository]
#   - an account for Terraform's state, which takes identities only and keeps old versions, and your right to write to it
#   - with a repository: an identity for its workflows, trusted for this environment alone (no secret anywhere)
#   - infra/environments/<environment>/backend.hcl and terraform.tfvars, unless they are there
# Again it finds everything made.
#   LOCATION=westeurope  ALERT_EMAIL=you@example.com
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
environment=${1:?"usage: bootstrap.sh dev|prod SUFFIX [owner/repository]"}
suffix=${2:-}
github=${3:-}
location=${LOCATION:-westeurope}
[[ $suffix =~ ^[a-z0-9]{3,8}$ ]] || die "SUFFIX must be 3 to 8 lower-case letters or digits that make the global names yours"
root=$repository/infra/environments/$environment
[ -d "$root" ] || die "there is no environment \"$environment\": dev or prod"
need_azure
[ -f "$root/terraform.tfvars" ] || [ -n "${ALERT_EMAIL:-}" ] || missing "who is told about alerts? Set ALERT_EMAIL=you@example.com"
stop_if_anything_is_missing

group=rg-weir-state-$suffix
account=stweirstate$suffix
say "state account $account"
az group create --name "$group" --location "$location" --output none
az storage account show --name "$account" --resource-group "$group" --output none 2>/dev/null ||
  az storage account create --name "$account" --resource-group "$group" --location "$location" --sku Standard_ZRS \
    --kind StorageV2 --allow-shared-key-access false --allow-blob-public-access false --min-tls-version TLS1_2 --output none
az storage account blob-service-properties update --account-name "$account" --resource-group "$group" \
  --enable-versioning true --enable-delete-retention true --delete-retention-days 30 --output none
scope=$(az storage account show --name "$account" --resource-group "$group" --query id --output tsv)
me=$(az ad signed-in-user show --query id --output tsv)
az role assignment create --role "Storage Blob Data Contributor" --assignee-object-id "$me" --assignee-principal-type User --scope "$scope" --output none
az storage container create --name tfstate --account-name "$account" --auth-mode login --output none ||
  die "the container was not made. A new role takes some minutes: run this again"

if [ -n "$github" ]; then
  identity=id-weir-ci-$environment-$suffix
  say "identity $identity for the workflows of $github in the environment $environment"
  az identity create --name "$identity" --resource-group "$group" --location "$location" --output none
  principal=$(az identity show --name "$identity" --resource-group "$group" --query principalId --output tsv)
  az identity federated-credential create --name "github-$environment" --identity-name "$identity" --resource-group "$group" \
    --issuer https://token.actions.githubusercontent.com --subject "repo:$github:environment:$environment" --audiences api://AzureADTokenExchange --output none
  # Terraform makes role assignments, but none that could make others.
  az role assignment create --role Contributor --assignee-object-id "$principal" --assignee-principal-type ServicePrincipal --scope "/subscriptions/$ARM_SUBSCRIPTION_ID" --output none
  az role assignment create --role "Role Based Access Control Administrator" --assignee-object-id "$principal" --assignee-principal-type ServicePrincipal --scope "/subscriptions/$ARM_SUBSCRIPTION_ID" --output none \
    --condition-version 2.0 --condition "((!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})) OR (@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAllValues:GuidNotEquals {8e3af657-a8ff-443c-a75c-2fe8c4bcb635, 18d7d88d-d35e-4fb5-a5c3-7773c20a72d9, f58310d9-a9f6-439a-9e8d-f62e7b41a168}))"
  az role assignment create --role "Storage Blob Data Contributor" --assignee-object-id "$principal" --assignee-principal-type ServicePrincipal --scope "$scope" --output none
  say "variables of the GitHub environment \"$environment\": AZURE_CLIENT_ID=$(az identity show --name "$identity" --resource-group "$group" --query clientId --output tsv) AZURE_TENANT_ID=$(az account show --query tenantId --output tsv) AZURE_SUBSCRIPTION_ID=$ARM_SUBSCRIPTION_ID STATE_ACCOUNT=$account STATE_GROUP=$group NAME_SUFFIX=$suffix ALERT_EMAIL=${ALERT_EMAIL:-}"
fi

[ -f "$root/backend.hcl" ] || cat >"$root/backend.hcl" <<HCL
resource_group_name  = "$group"
storage_account_name = "$account"
container_name       = "tfstate"
HCL
[ -f "$root/terraform.tfvars" ] || cat >"$root/terraform.tfvars" <<HCL
location     = "$location"
name_suffix  = "$suffix"
alert_emails = { team = "${ALERT_EMAIL:-}" }
HCL
say "next: make deploy-$environment"
