#ifndef HETERO_DATA_DATA_H_
#define HETERO_DATA_DATA_H_

// Everything a program needs to turn data sets into microbatches; README.md has an example.

#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/caption_source.h"
#include "hetero/data/conversation_source.h"
#include "hetero/data/fashion_mnist.h"
#include "hetero/data/mock_source.h"
#include "hetero/data/prefetcher.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/data/text/byte_tokenizer.h"
#include "hetero/data/text/conversation.h"
#include "hetero/data/text/hugging_face_tokenizer.h"
#include "hetero/data/text/tokenizer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/prepare.h"

#endif  // HETERO_DATA_DATA_H_
