// brasa/models: model definitions that load PyTorch's files.
import '../methods.js';

export { type BertInputs, BertModel, type BertOptions, type BertOutput, bert, miniLM } from './bert.js';
export { type GenerateOptions, Gpt2Decoder, type SampleOptions, sampleToken } from './decoder.js';
export { Gpt2, type Gpt2Inputs, type Gpt2Options, gpt2, KeyValueCache } from './gpt2.js';
export { LstmModel, type LstmOptions, lstm } from './lstm.js';
export { MobileNetV2, type MobileNetV2Options, type MobileNetStage, mobilenetV2 } from './mobilenet.js';
export {
  loadPretrained,
  type NameRule,
  PretrainedModel,
  type PretrainedOptions,
  type PretrainedReport,
  pretrainedState,
} from './pretrained.js';
export { ResNet, type ResNetOptions, resnet18, resnet34, resnet50 } from './resnet.js';
