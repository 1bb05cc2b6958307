#!/usr/bin/env bash
# What CI runs for a pull request: train what it changed, share the results, and write a comment on how they compare with the branch
# that it is to be merged into. The exit status is 1 if a gate fails.
#
#   tools/pull_request.sh TARGET COMMENT [GATE ...]
#   tools/pull_request.sh main comment.md 'test.accuracy >= main - 0.005'
#
# TARGET is a branch of origin. Files go to the DVC remote. With RESULTS_BRANCH the results are committed to this branch of origin.
# .github/workflows/experiment.yml and .gitlab-ci.yml call it; nothing in it needs either of them.
set -euo pipefail
cd "$(dirname "$0")/.."
[ ! -d .venv ] || PATH=$PWD/.venv/bin:$PATH
target=${1:?the branch to compare with} comment=${2:?the file for the comment}
shift 2
gates=()
for gate in "$@"; do gates+=(--gate "$gate"); done
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Ends with a comment that shows the last lines of the log as they are: indented text is no markup.
fail() {
	{ printf '### %s\n\n' "$1" && tail -n 20 "$log" | tr -d '\r' | sed 's/^/    /'; } >"$comment"
	exit "$2"
}

# Its own name here, so that a gate reads as it does at home.
git fetch --quiet origin "+refs/heads/$target:refs/heads/$target"
# What is missing is made by the stages.
dvc pull --run-cache --allow-missing
is_recorded=yes
./darkroom verify --lock || is_recorded=no
# With --pull a training that somebody has pushed with its run cache is not repeated.
dvc repro --pull 2>&1 | tee "$log" || fail "The pipeline failed" 1
git add --update
if ! git diff --cached --quiet; then
	git -c user.name="${GIT_AUTHOR_NAME:-CI}" -c user.email="${GIT_AUTHOR_EMAIL:-ci@localhost}" \
		commit --quiet --message "Results of $(git rev-parse --short HEAD)"
fi
dvc push --run-cache # before the commit that names these files
[ -z "${RESULTS_BRANCH:-}" ] || git push --quiet origin "HEAD:refs/heads/$RESULTS_BRANCH"

status=0
./darkroom compare "$target" HEAD --md - "${gates[@]}" >"$comment" 2>"$log" || status=$?
cat "$comment" "$log"
[ "$status" -le 1 ] || fail "The results could not be compared" "$status"
if [ "$is_recorded" = no ]; then
	{
		printf '\nThe results were made here, since dvc.lock was not what parameters and code said. '
		if [ -n "${RESULTS_BRANCH:-}" ]; then
			printf 'They are committed to this branch: `git pull && dvc pull`.\n'
		else
			printf 'They are on the DVC remote: `dvc pull --run-cache && dvc repro --pull` fetches them, and dvc.lock is to be committed.\n'
		fi
	} >>"$comment"
fi
exit "$status"
