.PHONY: help run test soak fuzz bench deny lint build clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 8

run: ## do the main job once: services, a worker with Claude Code, two prompts, and everything stopped again
	@scripts/run

test: ## check and test everything, end to end on a real engine, Redis and agent
	@scripts/test

soak: ## random work and random faults for ten minutes; ARGS="--seed 1 --minutes 3" for others
	@scripts/soak $(ARGS)

fuzz: ## every reader of bytes from outside, for a minute each; ARGS="--seconds 600 claude acp" for others
	@scripts/fuzz $(ARGS)

bench: ## measure the manager and the wrapper beside the bare engine and Redis
	@scripts/bench

deny: ## check dependencies: licences, sources, duplicates, and advisories where their database can be had
	@scripts/deny

lint: ## check formatting, clippy, documentation and shell scripts
	@scripts/lint

build: ## build the programs into dist/
	@scripts/build

clean: ## stop the services of this checkout and remove what was built
	@scripts/services down
	@cargo clean
	@rm -rf dist .services
