# The commands of make.py, for those who have make.
.PHONY: demo test bench soak compile lint setup lock licenses faults
demo test bench compile lint setup lock licenses faults:
	@python3 make.py $@
soak:
	@python3 make.py soak $(MINUTES)
