console.log("nothing is compiled in this test, so there is nothing to take up");
