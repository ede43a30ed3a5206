#ifndef HETERO_TENSOR_OPS_ANY_DEVICE_H_
#define HETERO_TENSOR_OPS_ANY_DEVICE_H_

// Marks functions that both sides of an operation call: one text for a rule that all devices keep.
// Where the sides have to agree to the bit no product may meet a sum outside of fma(): compilers
// fuse the two or do not.

#ifdef __CUDACC__
#define HETERO_ANY_DEVICE __host__ __device__ inline
#else
#define HETERO_ANY_DEVICE inline
#endif

#endif  // HETERO_TENSOR_OPS_ANY_DEVICE_H_
