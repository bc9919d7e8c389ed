# Deployment of Weir: docs/deploy.md. Building and testing is cargo's: README.md.
.DEFAULT_GOAL := help
.PHONY: help package wheel bootstrap deploy-dev deploy-prod destroy-dev
ENV ?= dev

help: ## Shows this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

package: ## Builds weir.zip, the package that is deployed (DATASETS=folder of contracts)
	@bash infra/deploy/package.sh weir.zip

wheel: ## Makes a Python wheel of a binary (HANDLER=binary that is built already, VERSION)
	@python3 infra/deploy/wheel.py "$(HANDLER)" "$(VERSION)" dist

bootstrap: ## Makes the state account and, with GITHUB=owner/repository, the identity of the workflows (ENV, SUFFIX, ALERT_EMAIL)
	@bash infra/deploy/bootstrap.sh "$(ENV)" "$(SUFFIX)" $(GITHUB)

deploy-dev: ## Builds and deploys dev (PACKAGE=weir.zip: what is built already)
	@bash infra/deploy/deploy.sh dev $(PACKAGE)

deploy-prod: ## Builds and deploys prod; asks before it changes anything
	@bash infra/deploy/deploy.sh prod $(PACKAGE)

destroy-dev: ## Destroys dev with all its data; asks first
	@bash infra/deploy/destroy.sh dev
