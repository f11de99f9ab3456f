# The commands of make.py, for those who have make.
.PHONY: demo test faults hostile bench soak compile lint setup lock licenses
demo test faults hostile bench compile lint setup lock licenses:
	@python3 make.py $@
soak:
	@python3 make.py soak $(MINUTES)
