# The commands of make.py, for those who have make.
.PHONY: demo test bench compile lint setup lock
demo test bench compile lint setup lock:
	@python3 make.py $@
