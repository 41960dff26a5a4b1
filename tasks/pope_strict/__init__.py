"""`pope_strict`: is the object in the picture? POPE on COCO, A-OKVQA and GQA, scored two ways."""
