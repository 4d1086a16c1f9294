/** The code version that rows carry: raised whenever a number may change. */
export const version = "0.2.0";
