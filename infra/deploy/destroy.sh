#!/usr/bin/env bash
# Destroys dev, with all its data: destroy.sh dev
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
environment=${1:?"usage: destroy.sh dev"}
[ "$environment" = dev ] || die "only dev can be destroyed this way: prod has locks on its data, which are taken off by hand"
need_azure
need_environment
stop_if_anything_is_missing
confirm "This destroys $environment with all its data." "$environment"
terraform_in init -input=false -backend-config=backend.hcl >/dev/null
terraform_in destroy -input=false -auto-approve
say "$environment is gone; its vault can be recovered for 90 days"
