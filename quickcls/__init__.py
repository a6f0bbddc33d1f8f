"Any folder of labelled pictures becomes a classifier worth sharing: in seconds, on a laptop, without a network"
