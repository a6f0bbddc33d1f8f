"Any folder of labelled images becomes a classifier worth sharing: in seconds, on a laptop, without a network"
