"What `make bench` measures: whole processes against the reference, and the parts they are made of"
