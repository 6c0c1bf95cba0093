/** Element types: the table comes from the native library, the rules of promotion are PyTorch's. */
import { native } from '../native.js';
import { ArgumentError, describe } from './error.js';

export type DType = 'f32' | 'f64' | 'f16' | 'bf16' | 'i8' | 'u8' | 'i32' | 'i64' | 'bool';
/** What arithmetic happens in; the other types are converted at load and store. */
export type ComputeType = 'f32' | 'f64' | 'i32' | 'i64';

export interface DTypeInfo {
  readonly id: number;
  readonly name: DType;
  readonly bytes: number;
  readonly compute: ComputeType;
}

const info = Object.create(null) as Record<DType, DTypeInfo>;
for (const row of native.table.dtypes) info[row.name as DType] = row as DTypeInfo;

/** All element types, in the order of the native table. */
export const dtypes: readonly DType[] = native.table.dtypes.map((row) => row.name as DType);

export function dtypeInfo(dtype: DType): DTypeInfo {
  const row = info[dtype];
  if (!row)
    throw new ArgumentError(
      `unknown dtype ${typeof dtype === 'string' ? dtype : describe(dtype)}: one of ${dtypes.join(', ')}`,
    );
  return row;
}

export function isDType(value: unknown): value is DType {
  return typeof value === 'string' && value in info;
}

export function isFloat(dtype: DType): boolean {
  return dtype === 'f32' || dtype === 'f64' || dtype === 'f16' || dtype === 'bf16';
}

const integerRank: Partial<Record<DType, number>> = { u8: 1, i8: 1, i32: 2, i64: 3 };

export function isInteger(dtype: DType): boolean {
  return integerRank[dtype] !== undefined;
}

/** 0 bool, 1 integer, 2 float. */
export function category(dtype: DType): 0 | 1 | 2 {
  return dtype === 'bool' ? 0 : isFloat(dtype) ? 2 : 1;
}

/** The common type of two tensors' types, ranks aside (torch.promote_types; i8 with u8 is i32, there being no i16). */
export function promoteTypes(a: DType, b: DType): DType {
  if (a === b) return a;
  const ca = category(a);
  const cb = category(b);
  if (ca !== cb) return ca > cb ? a : b;
  if (ca === 2) {
    if (a === 'f64' || b === 'f64') return 'f64';
    return 'f32'; // f32 with a half type, or f16 with bf16
  }
  const ra = integerRank[a]!;
  const rb = integerRank[b]!;
  if (ra === 1 && rb === 1) return 'i32';
  return ra > rb ? a : b;
}

/** What sums of a type are kept in: floats stay, integers and bool become i64. */
export function sumType(dtype: DType): DType {
  return isFloat(dtype) ? dtype : 'i64';
}

/** The type of statistics and losses of a float type: f64 for f64, else f32. */
export function statisticsType(dtype: DType): DType {
  return dtype === 'f64' ? 'f64' : 'f32';
}

export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;
